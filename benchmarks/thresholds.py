"""Which images should choose a threshold, and how many of them it takes.

    python benchmarks/thresholds.py --drive path/to/DRIVE --chase-db1 path/to/CHASE_DB1

Five folds of the training images of each data set (never the test images): each fold leaves out
four images, has two of the next fold's for validation, and trains on the others for 300 steps. It
starts from weights that were trained on the other data set and so have not seen these images. Each
way chooses a threshold, and F1 at it is compared with the best F1 on the four images. Then each two
of the six unseen images in turn play the validation images (on CHASE_DB1 the two eyes of a
patient), and the others are scored. The first fold also trains for 1,900 steps, the length of the
recipe.

A training of 300 steps takes six minutes on one core (OMP_NUM_THREADS=1), one of 1,900 steps forty,
all segmentations a quarter of an hour. Stop with Ctrl-C, and the same command goes on. What lies in
--runs is not repeated: delete it after a change of the weights or the recipe.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    CROPS_RECIPE,
    DRIVE_PROTOCOL,
    FundusFiles,
    Protocol,
    Split,
    Trained,
    cross_validation,
    list_chase_db1,
    list_drive,
    load_pretrained,
    load_weights,
    train,
)
from torchattn_blocks.retina.calibration import sweep_of
from torchattn_blocks.retina.evaluation.threshold import (
    Sweep,
    ThresholdChoice,
    choosing,
    shift_of,
    thresholds_by_way,
)
from torchattn_blocks.retina.protocol import patient_of
from torchattn_blocks.retina.write import write_whole

FOLDS, STEPS, LONG = 5, 300, 1900
DRAWN = 500  # random choices of images for each number of them
NUMBERS = (1, 2, 3, 5, 10, 15)


class DataSet(NamedTuple):
    """A data set, and weights that have not seen it."""

    name: str
    title: str
    protocol: Protocol
    list: Callable[[Path], list[FundusFiles]]
    start: str


SETS = (
    DataSet(
        "drive",
        "DRIVE",
        DRIVE_PROTOCOL,
        lambda root: [*list_drive(root, "training"), *list_drive(root, "test")],
        "chase_db1-v1",
    ),
    DataSet("chase_db1", "CHASE_DB1", CHASE_DB1_PROTOCOL, list_chase_db1, "drive"),
)


def split_of(data: DataSet, root: Path, fold: int) -> Split:
    """Four images are left out, two of the next fold's four are for validation, fourteen train.

    Two images are two patients on DRIVE, and the eyes of one on CHASE_DB1.
    """
    split = data.protocol.split(data.list(root))
    known = Split(split.training, split.validation, [])
    left_out, others = (
        cross_validation(known, number, FOLDS).test for number in (fold, fold % FOLDS + 1)
    )
    validation = others[:2]
    kept_out = {one.name for one in (*left_out, *validation)}
    training = [one for one in chain(*known) if one.name not in kept_out]
    return Split(sorted(training, key=lambda one: one.name), validation, left_out)


class Fold(NamedTuple):
    """What an uncalibrated network finds in images.

    Attributes:
        training: In ten images that it was trained on.
        validation: In the two images that were for validation, by name. They changed nothing but
            the shift of the bias, which is taken off.
        left_out: In the four images that the fold left out, by name.
    """

    training: list[Sweep]
    validation: dict[str, Sweep]
    left_out: dict[str, Sweep]

    @property
    def unseen(self) -> dict[str, Sweep]:
        """In the six images that it was not trained on, by name."""
        return self.validation | self.left_out

    def splits(self) -> Iterator[tuple[list[Sweep], list[Sweep]]]:
        """Each two of the six images, and the other four; first those of the fold itself.

        The two eyes of a patient stay together.
        """
        for names in combinations(self.unseen, 2):
            others = [name for name in self.unseen if name not in names]
            if {*map(patient_of, names)}.isdisjoint(map(patient_of, others)):
                yield [self.unseen[one] for one in names], [self.unseen[one] for one in others]


def trained_fold(data: DataSet, root: Path, fold: int, runs: Path, steps: int = STEPS) -> Path:
    """The weights of a fold, which are trained if they are not there yet."""
    out = runs / data.name / f"fold-{fold}-of-{steps}-steps"
    if not (out / "last.safetensors").exists():
        start = load_pretrained(data.start)
        recipe = replace(
            CROPS_RECIPE,
            steps=steps,
            validate_every=steps,
            learning_rate=2e-3,
            fov_diameter=start.settings.fov_diameter,
        )
        split = split_of(data, root, fold)
        training, validation = ([one.read() for one in part] for part in split[:2])
        train(
            start.model,
            training,
            validation,
            recipe,
            out,
            network=start.settings.network,
            dataset=data.name,
            resume=(out / "log.csv").exists(),
        )
    return out / "last.safetensors"


@torch.no_grad()
def uncalibrated(trained: Trained) -> Trained:
    """The network as it was before its bias was shifted."""
    trained.model.get_parameter("head.bias").sub_(trained.settings.about["bias_shift"])
    return trained


def swept(trained: Trained, files: Iterable[FundusFiles], kept: Path) -> list[Sweep]:
    """What a network finds in images; kept in a file."""
    if not kept.exists():
        found = [sweep_of(one.read(), trained, None, flips=False) for one in tqdm([*files])]
        rows = [[one.true.tolist(), one.false.tolist(), one.vessel] for one in found]
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(rows).encode())
    return [
        Sweep(np.array(true), np.array(false), vessel)
        for true, false, vessel in json.loads(kept.read_text())
    ]


def fold_of(data: DataSet, root: Path, fold: int, runs: Path, steps: int = STEPS) -> Fold:
    """Train and measure a fold."""
    weights = trained_fold(data, root, fold, runs, steps)
    trained = uncalibrated(load_weights(weights))
    parts = split_of(data, root, fold)
    training = swept(trained, choosing(parts.training), weights.parent / "training.json")
    unseen = (
        dict(zip((one.name for one in files), swept(trained, files, kept), strict=True))
        for files, kept in (
            (parts.validation, weights.parent / "validation.json"),
            (parts.test, weights.parent / "left-out.json"),
        )
    )
    return Fold(training, *unseen)


def lost(sweeps: Iterable[Sweep], threshold: float) -> float:
    """How far F1 at a threshold lies below the best one, of all pixels of the images."""
    f1 = Sweep.sum(sweeps).f1()
    return float(f1.max() - np.interp(threshold, np.arange(1, 100) / 100, f1))


class Lost(NamedTuple):
    """A threshold that a way has chosen, and the F1 that is lost by it on other images."""

    way: str
    threshold: float
    f1: float


def lost_in(fold: Fold, others: Sequence[Fold]) -> Iterator[Lost]:
    """What each way loses on four images, for each two that play the validation images."""
    apart = [
        sweep
        for other in others
        for name, sweep in other.left_out.items()
        if name not in fold.unseen
    ]
    for validation, scored in fold.splits():
        ways = thresholds_by_way(fold.training, validation)
        if apart:
            ways["out-of-fold maps of the other folds"] = Sweep.sum(apart).best()
        ways["none: 0.5, uncalibrated"] = 0.5
        for way, threshold in ways.items():
            yield Lost(way, threshold, lost(scored, threshold))


def by_way(found: Iterable[Lost]) -> dict[str, list[Lost]]:
    """What each way loses."""
    ways: dict[str, list[Lost]] = {}
    for one in found:
        ways.setdefault(one.way, []).append(one)
    return ways


def table_of_ways(folds: dict[str, list[Fold]]) -> str:
    """The thresholds of each way, and the F1 that is lost on images that it has not seen."""
    lines = []
    for title, each in folds.items():
        found = [
            by_way(lost_in(one, [other for other in each if other is not one])) for one in each
        ]
        for way in found[0]:
            own = [fold[way][0].f1 for fold in found]
            every = [*chain(*(fold[way] for fold in found))]
            lines.append(
                f"| {title} | {way} | {_f(fmean(own))} ± {_f(stdev(own))} | {_f(max(own))} "
                f"| {_any_two(every)} |"
            )
    head = (
        "| | chosen by | F1 lost | worst fold | any two: F1 lost | worst | thresholds |\n"
        "|---|---|---|---:|---:|---:|---|"
    )
    return "\n".join([head, *lines])


def table_of_lengths(folds: dict[tuple[str, int], Fold]) -> str:
    """The same for one fold after trainings of different lengths."""
    lines = []
    for (title, steps), fold in folds.items():
        for way, every in by_way(lost_in(fold, [])).items():
            lines.append(f"| {title} | {steps:,} | {way} | {_f(every[0].f1)} | {_any_two(every)} |")
    head = (
        "| | steps | chosen by | F1 lost | any two: F1 lost | worst | thresholds |\n"
        "|---|---:|---|---:|---:|---:|---|"
    )
    return "\n".join([head, *lines])


def table_of_numbers(sweeps: dict[str, list[Sweep]], patients: dict[str, list[str]]) -> str:
    """What so many images, drawn at random, are worth on the images of other patients.

    How much the shift differs between draws is measured by drawing with replacement, as from many
    images; without it, ten of twenty would look surer than they are.
    """
    draw, lines = np.random.default_rng(0), []
    for title, every in sweeps.items():
        who = np.array(patients[title])
        for number in NUMBERS:
            losses, shifts = [], []
            for _ in range(DRAWN):
                few = _of_patients(draw, who, draw.permutation(np.unique(who)), number)
                rest = [sweep for sweep, one in zip(every, who, strict=True) if one not in who[few]]
                losses.append(lost(rest, Sweep.sum(every[i] for i in few).best()))
                again = _of_patients(draw, who, draw.choice(who, number), number)
                shifts.append(shift_of(Sweep.sum(every[i] for i in again).best()))
            most = float(np.quantile(losses, 0.95))
            lines.append(
                f"| {title} | {number} | {stdev(shifts):.2f} | {_f(fmean(losses))} | {_f(most)} |"
            )
        lines.append(f"| {title} | 0 (as shipped) | – | {_f(lost(every, 0.5))} | – |")
    head = "| | images | ± shift | F1 lost | in 19 of 20 draws at most |\n|---|---|---:|---:|---:|"
    return "\n".join([head, *lines])


def _of_patients(
    draw: np.random.Generator, who: NDArray[np.str_], patients: NDArray[np.str_], number: int
) -> list[int]:
    """So many images of these patients, all images of one before those of the next."""
    return [i for one in patients for i in draw.permutation(np.flatnonzero(who == one))][:number]


def table_of_shipped(sweeps: dict[str, list[Sweep]]) -> str:
    """The shift that training and validation images choose for shipped weights, and its spread."""
    lines = []
    for name, every in sweeps.items():
        choice = ThresholdChoice.of(every)
        shift = load_pretrained(name).settings.about["bias_shift"]
        two = ThresholdChoice.of(every[-2:])
        lines.append(
            f"| `{name}` | {shift:+.2f} | {choice.shift:+.2f} | {choice.spread:.2f} "
            f"| {two.shift:+.2f} |"
        )
    head = (
        "| weights | shipped shift | best for training and validation images | ± of single images "
        "| best for the two validation images |\n|---|---:|---:|---:|---:|"
    )
    return "\n".join([head, *lines])


def _any_two(found: Iterable[Lost]) -> str:
    """Cells on what is lost if any two images validate."""
    losses, thresholds = zip(*((one.f1, one.threshold) for one in found), strict=True)
    ends = dict.fromkeys(_f(end(thresholds), 2) for end in (min, max))
    return f"{_f(fmean(losses))} | {_f(max(losses))} | {' to '.join(ends)}"


def _f(number: float, digits: int = 4) -> str:
    return f"{number:.{digits}f}".removeprefix("0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for data in SETS:
        parser.add_argument(f"--{data.name.replace('_', '-')}", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/thresholds"))
    parser.add_argument("--out", type=Path, help="folder to write the tables to")
    args = parser.parse_args()
    folds, lengths, own, foreign, patients = {}, {}, {}, {}, {}
    for data in SETS:
        root = getattr(args, data.name)
        split = data.protocol.split(data.list(root))
        every = [*split.training, *split.validation]
        for name in ("drive", "chase_db1", "chase_db1-v1"):
            kept = args.runs / "shipped" / f"{name}-on-{data.name}.json"
            if name.startswith(data.name):
                own[name] = swept(uncalibrated(load_pretrained(name)), every, kept)
            else:
                title = f"`{name}` on {data.title}"
                foreign[title] = swept(load_pretrained(name), every, kept)
                patients[title] = [patient_of(one.name) for one in every]
        folds[data.title] = [fold_of(data, root, fold, args.runs) for fold in range(1, FOLDS + 1)]
        lengths[data.title, STEPS] = folds[data.title][0]
        lengths[data.title, LONG] = fold_of(data, root, 1, args.runs, LONG)
    tables = {
        "ways": table_of_ways(folds),
        "lengths": table_of_lengths(lengths),
        "numbers": table_of_numbers(foreign, patients),
        "shipped": table_of_shipped(own),
    }
    for name, table in tables.items():
        print(f"\n{table}")
        if args.out:
            write_whole(args.out / f"{name}.md", f"{table}\n".encode())


if __name__ == "__main__":
    main()
