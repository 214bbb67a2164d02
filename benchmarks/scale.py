"""Can the right working diameter of an image be found from the network's maps alone?

python benchmarks/scale.py --drive path/to/DRIVE --chase-db1 path/to/CHASE_DB1
    [--images 5] [--skip 0] [--weights drive] [--half] [--shift 0]
    [--largest 1440] [--out /tmp/scale_maps]

Training images only: `--images` of each set after the first `--skip` (DRIVE 21 to 40 without 23 and
40, which chose the weights; the left eyes of CHASE_DB1 01 to 10). For the weights that were trained
on a set, its rows are optimistic. `--half`: the middle half of each field of view, all else black,
so that vessels are twice as wide for the field of view (starts are halved, too). `--shift .5`: no
diameter is that of the training or that of the image itself, at which nothing is resized.

Each image is segmented at diameters in steps of 1.25 around that of the training, times .17 to
2.44, and its maps are resized to a field of view of 535 pixels, where all is measured. The first
tables: what the maps score in the field of view at .5, and what a rule can look at. The others: by
how much a rule's F1, pooled over the set, lies below that of the best diameter of the set. A rule
starts at a wrong diameter (columns) or at the best one ("right"), sees the diameters between .41
and 2.44 times its start, as far as they were computed, and picks the one where its measure is
highest, or takes a mean of maps. "worst" is the largest gap of one image to the best diameter of
that image, over all starts. A rule holds if no gap is above .02 and that of the right start not
above .002.

"length > .9" is the length of the skeleton of the pixels above .9. "(each)": each image decides for
itself; "(set)": all images of a set together, by the mean of the measure. "stay .05": the start is
left only for a measure that is 5 % higher. "climb": fewer passes, see `picked`.

The maps are kept in the folder `--out`. On one core, an image takes 30 s (45 s with `--weights
chase_db1`, whose diameter is 918: by `--largest`, no diameter is above 1440 pixels), then 2 s from
kept maps; with 5 images of each set, 5 minutes. Maps kept with another `--largest` do not fit.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from torchattn_blocks.retina import (
    Fundus,
    Trained,
    fov_diameter,
    list_chase_db1,
    list_drive,
    pooled_scores,
    segment,
)
from torchattn_blocks.retina.data.tensors import resized_map
from torchattn_blocks.retina.evaluation.confusion import Confusion
from torchattn_blocks.retina.weights import named_weights
from torchattn_blocks.retina.working_diameter import certainty, climb

STEP, FIRST, LAST = 1.25, -8, 4  # diameters: that of the training times 1.25 to the power of these
REACH = 4  # a rule sees so many steps to both sides of its start
DOUBLE = 3  # steps for twice the diameter, nearly
STARTS = range(-4, 5)  # around the right one, which for half a disc is DOUBLE steps lower
SIDE = 535
FINALISTS = (
    "length > .9",
    "length > .9, times F1 if calibrated",
    "length > .9, times certain length",
)  # tried in more ways
MOST, RIGHT = 0.02, 0.002  # the gaps allowed
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass
class Eye:
    """What was measured of one image; lists and arrays have an entry for each diameter."""

    times: list[float]  # the diameters, over that of the training
    at: list[Confusion]  # the vessels at each diameter
    mixed: dict[str, list[Confusion]]  # the vessels of means of maps, by rule
    auc: Values
    measures: dict[str, Values]


def middle(fundus: Fundus) -> Fundus:
    """The middle half of the field of view, everything else black."""
    rows, columns = (np.flatnonzero(fundus.fov.any(axis=axis)) for axis in (1, 0))
    y, x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    radius = fov_diameter(fundus.fov) / 4
    row, column = np.ogrid[: fundus.fov.shape[0], : fundus.fov.shape[1]]
    disc = fundus.fov & ((row - y) ** 2 + (column - x) ** 2 <= radius**2)
    box = tuple(slice(int(c - radius) - 8, int(c + radius) + 9) for c in (y, x))
    assert fundus.label is not None
    image = np.where(disc[..., None], fundus.image, 0).astype(np.uint8)
    return Fundus(fundus.name, image[box], fundus.label[box], disc[box])


def chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Fundus]]]:
    """The images of each data set that is given: from its training images only."""
    sets = {}
    if arguments.drive:
        files = list_drive(arguments.drive, "training")
        sets["drive"] = [f for f in files if f.name not in ("23", "40")]
    if arguments.chase_db1:
        files = list_chase_db1(arguments.chase_db1)
        sets["chase_db1"] = [f for f in files if f.name.endswith("L") and f.name <= "10L"]
    for name, files in sets.items():
        eyes = [f.read() for f in files[arguments.skip :][: arguments.images]]
        yield name, [middle(eye) if arguments.half else eye for eye in eyes]


def diameters_of(trained: Trained, shift: float, largest: float) -> list[float]:
    steps = (STEP ** (k + shift) for k in range(FIRST, LAST + 1))
    return [d for step in steps if (d := trained.settings.fov_diameter * step) <= largest]


def maps_of(fundus: Fundus, trained: Trained, diameters: list[float], kept: Path) -> list[Map]:
    """The maps at all diameters, at a field of view of 535 pixels."""
    if not kept.exists():
        scale = SIDE / fov_diameter(fundus.fov)
        size = [round(side * scale) for side in fundus.fov.shape]
        maps = []
        for diameter in diameters:
            p = segment(fundus.image, trained, fov=fundus.fov, fov_diameter=diameter)
            p = resized_map(torch.from_numpy(p)[None], size)[0].numpy()
            maps.append(np.round(p * 65535).astype(np.uint16))
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, np.stack(maps))
    with np.load(kept) as file:
        return [(p / 65535).astype(np.float32) for p in file["arr_0"]]


def length(mask: Mask) -> int:
    return int(np.count_nonzero(skeletonize(mask)))


def entropy(p: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of vessel or not, in bits."""
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return -q * np.log2(q) - (1 - q) * np.log2(1 - q)


def measured(p: Map, fov: Mask, working: float) -> dict[str, float]:
    """The measures of one map, which was computed at a working diameter.

    Lengths are in diameters of the field of view. No measure knows the labels.
    """
    inside = np.where(fov, p, 0)
    values = inside[fov]
    found = values[values > 0.5]
    lines = skeletonize(inside > 0.1)
    at_half = skeletonize(inside > 0.5)
    sureness = 2 * inside[at_half].astype(np.float64) - 1
    sure = length(inside > 0.9) / SIDE
    between = length((inside > 0.1) & (inside <= 0.9)) / SIDE
    half = np.count_nonzero(at_half) / SIDE
    width = found.size / max(np.count_nonzero(at_half), 1) * working / SIDE
    share = np.count_nonzero(lines & (inside > 0.9)) / max(np.count_nonzero(lines), 1)
    calibrated = 2 * found.sum() / max(found.size + values.sum(), 1e-9)
    return {
        "length > .9": sure,
        "length > .5": half,
        "length > .9 / length .1-.9": sure / max(between, 1e-9),
        "the same, floor 2": sure / (between + 2),
        "the same, floor 10": sure / (between + 10),
        "share > .9 of lines > .1": share,
        "share, times length > .5": share * half,
        "mean |p - .5| where p > .1": float(np.abs(values[values > 0.1] - 0.5).mean())
        if (values > 0.1).any()
        else 0.0,
        "1 - entropy where p > .5": 1 - float(entropy(found).mean()) if found.size else 0.0,
        "F1 if calibrated": float(calibrated),
        "F1 if calibrated, times length > .5": float(calibrated) * half,
        "length > .8": length(inside > 0.8) / SIDE,
        "length > .95": length(inside > 0.95) / SIDE,
        "certain length": sureness.sum() / SIDE,
        "certain length, squared": (sureness**2).sum() / SIDE,
        "certain length, in bits": (1 - entropy(inside[at_half])).sum() / SIDE,
        "length > .9, times F1 if calibrated": certainty(p, fov),
        "length > .9, times certain length": sure * sureness.sum() / SIDE,
        "length > .9, times share": sure * share,
        "certain area": float((2 * found - 1).sum()) / values.size,
        "information": float(entropy(values.mean()) - entropy(values).mean()),
        "width nearest 4 px": -abs(math.log(max(width, 1e-9) / 4)),
    }


def soft_dice(p: Map, q: Map, fov: Mask) -> float:
    return float(2 * np.minimum(p, q)[fov].sum() / max((p[fov] + q[fov]).sum(), 1e-9))


def eye_of(fundus: Fundus, trained: Trained, diameters: list[float], kept: Path) -> Eye:
    maps = maps_of(fundus, trained, diameters, kept)
    size = maps[0].shape
    assert fundus.label is not None
    label, fov = (
        resized_map(torch.from_numpy(mask & True)[None].float(), size)[0].numpy() > 0.5
        for mask in (fundus.label, fundus.fov)
    )
    rows = [measured(p, fov, d) for p, d in zip(maps, diameters, strict=True)]
    measures = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    dice = np.array([soft_dice(p, q, fov) for p, q in pairwise(maps)])
    measures["agreement with the next"] = np.append(dice, 0)
    measures["agreement with both sides"] = np.concatenate([[0], (dice[1:] + dice[:-1]) / 2, [0]])
    agreement = measures["agreement with both sides"]
    measures["agreement, times length > .5"] = agreement * measures["length > .5"]
    measures["agreement, times certain length"] = agreement * measures["certain length"]
    mean = sum(maps) / len(maps)
    measures["agreement with the mean of all"] = np.array([soft_dice(p, mean, fov) for p in maps])

    def confusion(p: Map) -> Confusion:
        return Confusion.of((p > 0.5) & fov, label & fov, int(np.count_nonzero(fov)))

    def mean_at(i: int, steps: Sequence[int]) -> Confusion:
        seen = [maps[i + step] for step in steps if 0 <= i + step < len(maps)]
        return confusion(np.mean(seen, axis=0))

    mixtures = {
        "mean of d, 2d": (0, DOUBLE),
        "mean of d/2, d": (-DOUBLE, 0),
        "mean of d/2, d, 2d": (-DOUBLE, 0, DOUBLE),
    }
    return Eye(
        times=[d / trained.settings.fov_diameter for d in diameters],
        at=[confusion(p) for p in maps],
        mixed={
            name: [mean_at(i, steps) for i in range(len(maps))] for name, steps in mixtures.items()
        },
        auc=np.array([pooled_scores([p], [label], masks=[fov])["AUC"] for p in maps]),
        measures=measures,
    )


def f1(parts: Sequence[Confusion]) -> float:
    """The F1 of all images together."""
    return reduce(Confusion.plus, parts).scores((0, 0))["F1"]


def picked(measure: Values, start: int, stay: float, search: str) -> tuple[int, list[int]]:
    """The diameter in reach where a measure is highest, and all that were looked at.

    It is the start, unless it is worth moving. "climb" is the library's search.
    """
    low, high = max(start - REACH, 0), min(start + REACH, len(measure) - 1)
    seen = list(range(low, high + 1))
    if search == "climb":
        seen = []

        def look(steps: int) -> float:
            seen.append(start + steps)
            return measure[start + steps]

        return start + climb(look, low - start, high - start, stay), seen
    best = max(seen, key=lambda i: measure[i])
    moves = measure[best] > measure[start] + stay * abs(measure[start])
    return (best if moves else start), seen


Rule = Callable[[list[Eye], int], list[Confusion]]


def by_measure(name: str, stay: float, together: bool, search: str) -> Rule:
    def rule(eyes: list[Eye], start: int) -> list[Confusion]:
        measures = [eye.measures[name] for eye in eyes]
        if together:
            measures = [np.mean(measures, axis=0)] * len(eyes)
        return [
            e.at[picked(m, start, stay, search)[0]] for e, m in zip(eyes, measures, strict=True)
        ]

    return rule


def by_mean(name: str) -> Rule:
    return lambda eyes, start: [eye.mixed[name][start] for eye in eyes]


def rules(eye: Eye) -> dict[str, Rule]:
    listed: dict[str, Rule] = {"the start": lambda eyes, start: [eye.at[start] for eye in eyes]}
    listed |= {name: by_mean(name) for name in eye.mixed}
    for name in eye.measures:
        ways = [("", 0.0)]
        if name in FINALISTS:
            ways += [("", 0.02), ("", 0.05), ("climb", 0.0), ("climb", 0.02), ("climb", 0.05)]
        for search, stay in ways:
            how = ", climb" * bool(search) + f", stay {stay:.2f}".replace("0.", ".") * bool(stay)
            listed[f"{name}{how} (each)"] = by_measure(name, stay, False, search)
            listed[f"{name}{how} (set)"] = by_measure(name, stay, True, search)
    return listed


def cells(values: Iterable[float], digits: int = 3) -> str:
    return " | ".join(f"{value:.{digits}f}" for value in values)


def print_measures(name: str, eyes: list[Eye]) -> None:
    """What the set scores at each diameter, and the mean of each measure over its images."""
    count = len(eyes[0].at)
    print(f"\n{name}, {len(eyes)} images\n\n| diameter times | {cells(eyes[0].times, 2)} |")
    print("|---|" + "---:|" * count)
    rows = {
        "F1 (pooled)": [f1([eye.at[i] for eye in eyes]) for i in range(count)],
        "AUC (mean)": np.mean([eye.auc for eye in eyes], axis=0),
    }
    rows |= {m: np.mean([eye.measures[m] for eye in eyes], axis=0) for m in eyes[0].measures}
    for row, values in rows.items():
        print(f"| {row} | {cells(values)} |")


def print_rules(
    name: str, eyes: list[Eye], starts: list[int], listed: dict[str, Rule], all_hold: set[str]
) -> None:
    """By how much each rule falls short, from each start; rules that fail leave `all_hold`."""
    times = eyes[0].times
    pooled = [f1([eye.at[i] for eye in eyes]) for i in range(len(times))]
    best, alone = int(np.argmax(pooled)), [max(f1([c]) for c in eye.at) for eye in eyes]
    print(
        f"\n{name}, {len(eyes)} images: gap to F1 {pooled[best]:.3f} at diameter times "
        f"{times[best]:.2f}, by rule and start\n\n"
        f"| rule | {cells((times[i] for i in starts), 2)} | right | worst | holds |"
    )
    print("|---|" + "---:|" * (len(starts) + 2) + "---|")
    for title, rule in listed.items():
        results = [rule(eyes, i) for i in starts]
        gaps = [pooled[best] - f1(result) for result in results]
        right = pooled[best] - f1(rule(eyes, best))
        worst = max(
            top - f1([c]) for result in results for c, top in zip(result, alone, strict=True)
        )
        holds = max(gaps) <= MOST and right <= RIGHT
        if not holds:
            all_hold.discard(title)
        print(f"| {title} | {cells((*gaps, right, worst))} | {'yes' if holds else 'no'} |")


def print_cost(eyes: list[Eye], starts: list[int]) -> None:
    """The passes of "climb" and their cost, where 1 is the pass at the start alone."""
    print("\nclimb, each image: passes; their pixels over those of one pass at the start\n")
    print(f"| measure | {cells((eyes[0].times[i] for i in starts), 2)} |")
    print("|---|" + "---:|" * len(starts))
    for name in FINALISTS:
        row = []
        for start in starts:
            ways = [picked(eye.measures[name], start, 0, "climb")[1] for eye in eyes]
            pixels = np.mean([sum(STEP ** (2 * (i - start)) for i in way) for way in ways])
            row.append(f"{np.mean([len(way) for way in ways]):.1f}; {pixels:.1f}")
        print(f"| {name} | {' | '.join(row)} |")
    everything = sum(STEP ** (2 * i) for i in range(-REACH, REACH + 1))
    print(f"\nall {2 * REACH + 1} diameters in reach: {everything:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rules for the working diameter, on trial.")
    parser.add_argument("--drive", type=Path)
    parser.add_argument("--chase-db1", type=Path)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--weights", default="drive")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--shift", type=float, default=0.0)
    parser.add_argument("--largest", type=float, default=1440.0)
    parser.add_argument("--out", type=Path, default=Path("/tmp/scale_maps"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = named_weights(arguments.weights)
    diameters = diameters_of(trained, arguments.shift, arguments.largest)
    part = ("half" if arguments.half else "whole") + f"_{arguments.shift}" * bool(arguments.shift)
    sets = {}
    for name, images in chosen(arguments):
        stem = arguments.weights.removesuffix(".safetensors").replace("/", "_")
        kept = [f"{stem}_{name}_{image.name}_{part}.npz" for image in images]
        sets[name] = [
            eye_of(image, trained, diameters, arguments.out / file)
            for image, file in zip(images, kept, strict=True)
        ]
        print_measures(name, sets[name])
    together = [eye for eyes in sets.values() for eye in eyes]
    lowest = -FIRST - DOUBLE * arguments.half
    starts = [lowest + k for k in STARTS if lowest + k < len(diameters)]
    listed = rules(together[0])
    all_hold = set(listed)
    for name, eyes in sets.items():
        print_rules(name, eyes, starts, listed, all_hold)
    print_cost(together, starts)
    print(
        f"\nhold on each set: {', '.join(title for title in listed if title in all_hold) or 'none'}"
    )


if __name__ == "__main__":
    main()
