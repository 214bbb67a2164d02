"""Can the right working diameter of an image be found from the network's maps alone?

python benchmarks/scale.py --drive path/to/DRIVE --chase-db1 path/to/CHASE_DB1
    --out docs/scale --long
python benchmarks/scale.py --drive path/to/DRIVE --chase-db1 path/to/CHASE_DB1
    --out docs/scale --weights mine.safetensors

Training images only: DRIVE 21 to 31 without 23, which chose the weights; the left eyes of CHASE_DB1
01 to 10. Each image is segmented at diameters of the field of view in steps of 1.25, from .17 to
2.44 times that of the training, none above 1440 pixels. All maps are resized to a field of view of
535 pixels, where everything is measured. A rule starts at one of these diameters, sees those up to
four steps away and picks one, for each image on its own. Scores are F1 at .5 in the field of view,
of all images of a set together.

It writes starts.md (F1 before and after the library's rule, by start), rules.md (by how much each
rule tried falls short of the best diameter of a set) and cost.md (what the library's rule costs).
With `--weights`, a name or a file, it writes only weights.md: other weights beside `drive`.

Maps are kept in the folder `--maps`; empty it when weights have changed. On one core it takes six
minutes, and nine if others use the machine; with `--long` an estimated 20 to 30; with `--weights`
nine or more, half of it if the maps of `drive` are kept. From kept maps it takes a minute at most.
"""

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, reduce
from pathlib import Path

import numpy as np
import torch
from scale_maps import CHOSEN, FIRST, REACH, STEP, Eye, eye_of, middle
from tables import table

from torchattn_blocks.retina import list_chase_db1, list_drive
from torchattn_blocks.retina.data.files import FundusFiles
from torchattn_blocks.retina.evaluation.confusion import Confusion
from torchattn_blocks.retina.weights import named_weights
from torchattn_blocks.retina.working_diameter import climb

DOUBLE = 3  # steps for twice the diameter, nearly
named = cache(named_weights)
Rule = Callable[[Eye, int], Confusion]


@dataclass(frozen=True)
class Trial:
    """Images, and what is done to them."""

    title: str
    drive: tuple[int, int]
    chase_db1: tuple[int, int]
    weights: str = "drive"
    half: bool = False  # the middle half of the field of view: vessels are twice as wide for it
    shift: float = 0.0  # in steps, so that no diameter is that of the training or of the image
    long: bool = True

    @property
    def right(self) -> int:
        """The place of the right diameter, as far as the geometry tells."""
        return -FIRST - DOUBLE * self.half


NONE, FIVE, OTHERS = (0, 0), (0, 5), (5, 10)
WHOLE = Trial("whole disc", FIVE, FIVE, long=False)
TRIALS = [
    WHOLE,
    Trial("whole disc, other images", OTHERS, OTHERS),
    Trial("half disc", FIVE, FIVE, half=True),
    Trial("half disc, other images", (5, 8), (5, 8), half=True),
    Trial("diameters times 1.12", (0, 3), (0, 3), shift=0.5),
    Trial("weights chase_db1", (5, 8), NONE, "chase_db1", long=False),
]


def sets_of(trial: Trial, arguments: argparse.Namespace) -> dict[str, list[Eye]]:
    """The images of a trial by data set, measured."""
    drive = [f for f in list_drive(arguments.drive, "training") if f.name != "23"]
    chase_db1 = [f for f in list_chase_db1(arguments.chase_db1) if f.name.endswith("L")]
    trained, weights = named(trial.weights), trial.weights
    if weights.endswith(".safetensors"):
        weights = hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:12]
    part = ("half" if trial.half else "whole") + f"_{trial.shift}" * bool(trial.shift)

    def eye(name: str, files: FundusFiles) -> Eye:
        fundus = middle(files.read()) if trial.half else files.read()
        kept = arguments.maps / f"{weights}_{name}_{files.name}_{part}.npz"
        return eye_of(fundus, trained, trial.shift, kept)

    sets = {"drive": drive[slice(*trial.drive)], "chase_db1": chase_db1[slice(*trial.chase_db1)]}
    return {
        f"{name.upper()} {files[0].name} to {files[-1].name}": [eye(name, one) for one in files]
        for name, files in sets.items()
        if files
    }


def highest(name: str) -> Rule:
    """The diameter in reach where a measure is highest."""

    def rule(eye: Eye, start: int) -> Confusion:
        low, high = eye.reach(start)
        return eye.at[max(range(low, high + 1), key=lambda i: eye.measures[name][i])]

    return rule


def mean_of(*steps: int) -> Rule:
    """The mean of the maps at so many steps from the start, as far as there are some."""

    def rule(eye: Eye, start: int) -> Confusion:
        places = [start + step for step in steps if 0 <= start + step < len(eye.maps)]
        return eye.vessels(np.mean([eye.maps[place] for place in places], axis=0))

    return rule


def climbed(eye: Eye, start: int) -> tuple[int, list[int]]:
    """Where the library's search ends, and all places that it looked at, in steps."""
    seen: list[int] = []

    def look(steps: int) -> float:
        seen.append(steps)
        return eye.measures[CHOSEN][start + steps]

    low, high = eye.reach(start)
    return start + climb(look, low - start, high - start), seen


def chosen(eye: Eye, start: int) -> Confusion:
    return eye.at[climbed(eye, start)[0]]


def start_itself(eye: Eye, start: int) -> Confusion:
    return eye.at[start]


def rules(eye: Eye) -> dict[str, Rule]:
    listed: dict[str, Rule] = {
        "the start": start_itself,
        "mean of maps at d and 2d": mean_of(0, DOUBLE),
        "mean of maps at d/2 and d": mean_of(-DOUBLE, 0),
        "mean of maps at d/2, d and 2d": mean_of(-DOUBLE, 0, DOUBLE),
    }
    listed |= {name: highest(name) for name in eye.measures if name != CHOSEN}
    return {**listed, CHOSEN: highest(CHOSEN), "**the same, uphill, stay .05 (chosen)**": chosen}


def f1(rule: Rule, eyes: list[Eye], start: int) -> float:
    """The F1 of all images together."""
    return reduce(Confusion.plus, [rule(eye, start) for eye in eyes]).scores((0, 0))["F1"]


def starts(trial: Trial, eyes: list[Eye]) -> list[int]:
    places = [trial.right + k for k in range(-REACH, REACH + 1)]
    return [place for place in places if place < len(eyes[0].at)]


def best(eyes: list[Eye]) -> int:
    """The place of the diameter that is best for a set."""
    return max(range(len(eyes[0].at)), key=lambda i: f1(start_itself, eyes, i))


Sets = dict[str, list[Eye]]
HEAD = [f"{STEP**k:.2f}" for k in range(-REACH, REACH + 1)]


def padded(cells: list[str]) -> list[str]:
    return cells + ["–"] * (len(HEAD) - len(cells))


def starts_table(trials: dict[Trial, Sets]) -> str:
    lines = []
    for trial, sets in trials.items():
        for name, eyes in sets.items():
            top = f"{f1(start_itself, eyes, best(eyes)):.3f}"
            for title, rule in {"start": start_itself, "auto": chosen}.items():
                cells = [f"{f1(rule, eyes, start):.3f}" for start in starts(trial, eyes)]
                lines.append([trial.title, name, title, *padded(cells), top])
    return table(["F1, by start", "", "", *HEAD, "best"], lines, left=3)


def gaps(rule: Rule, trial: Trial, sets: Sets) -> str:
    """By how much a rule falls short: at most; from the best diameter. Of the worse set."""
    worst = right = -1.0
    for eyes in sets.values():
        top = f1(start_itself, eyes, best(eyes))
        worst = max(worst, *(top - f1(rule, eyes, start) for start in starts(trial, eyes)))
        right = max(right, top - f1(rule, eyes, best(eyes)))
    return f"{worst:.3f} / {right:.3f}".replace("-0.000", "0.000")


def rules_table(trials: dict[Trial, Sets]) -> str:
    one_eye = next(iter(next(iter(trials.values())).values()))[0]
    lines = [
        [name, *(gaps(rule, trial, sets) for trial, sets in trials.items())]
        for name, rule in rules(one_eye).items()
    ]
    return table(["rule", *(trial.title for trial in trials)], lines)


def cost_table(trials: dict[Trial, Sets]) -> str:
    lines = []
    for trial, sets in trials.items():
        eyes = [eye for some in sets.values() for eye in some]
        cells = []
        for start in starts(trial, eyes):
            ways = [climbed(eye, start)[1] for eye in eyes]
            pixels = np.mean([sum(STEP ** (2 * steps) for steps in way) for way in ways])
            cells.append(f"{np.mean([len(way) for way in ways]):.1f}; {pixels:.1f}")
        lines.append([trial.title, *padded(cells)])
    return table(["passes; pixels, by start", *HEAD], lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drive", type=Path, required=True)
    parser.add_argument("--chase-db1", type=Path, required=True)
    parser.add_argument("--weights", help="only these weights beside drive: a name or a file")
    parser.add_argument("--maps", type=Path, default=Path("runs/scale_maps"))
    parser.add_argument("--long", action="store_true", help="all trials")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.weights:
        chosen_trials = [
            replace(WHOLE, title=f"weights {Path(weights).stem}", weights=weights)
            for weights in ("drive", arguments.weights)
        ]
    else:
        chosen_trials = [trial for trial in TRIALS if arguments.long or not trial.long]
    trials = {trial: sets_of(trial, arguments) for trial in chosen_trials}
    tables = {"weights" if arguments.weights else "starts": starts_table(trials)}
    if not arguments.weights:
        tables |= {"rules": rules_table(trials), "cost": cost_table(trials)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
