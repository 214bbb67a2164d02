"""The maps of an image at many working diameters, and what a rule can see in them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from torchattn_blocks.retina import Fundus, fov_diameter, segment
from torchattn_blocks.retina.data.tensors import resized_map
from torchattn_blocks.retina.evaluation.confusion import Confusion
from torchattn_blocks.retina.weights import Trained
from torchattn_blocks.retina.working_diameter import certainty

STEP, FIRST, LAST, LARGEST = 1.25, -8, 4, 1440  # diameters, in steps from that of the training
REACH = 4  # steps that a rule sees to both sides
SIDE = 535  # field of view at which all is measured
CHOSEN = "length > .9 times F1 if calibrated"
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass
class Eye:
    """What was measured of one image at each diameter."""

    at: list[Confusion]
    maps: list[Map]
    vessels: Callable[[Map], Confusion]
    measures: dict[str, Sequence[float]]

    def reach(self, start: int) -> tuple[int, int]:
        return max(start - REACH, 0), min(start + REACH, len(self.at) - 1)


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


def maps_of(fundus: Fundus, trained: Trained, shift: float, kept: Path) -> list[Map]:
    """The maps at all diameters, resized to a field of view of 535 pixels."""
    if not kept.exists():
        size = [round(side * SIDE / fov_diameter(fundus.fov)) for side in fundus.fov.shape]
        maps = []
        for steps in range(FIRST, LAST + 1):
            diameter = trained.settings.fov_diameter * STEP ** (steps + shift)
            if diameter <= LARGEST:
                p = segment(fundus.image, trained, fov=fundus.fov, fov_diameter=diameter)
                p = resized_map(torch.from_numpy(p)[None], size)[0].numpy()
                maps.append(np.round(p * 65535).astype(np.uint16))
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, np.stack(maps))
    with np.load(kept) as file:
        return [(p / 65535).astype(np.float32) for p in file["arr_0"]]


def entropy(p: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of vessel or not, in bits."""
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return -q * np.log2(q) - (1 - q) * np.log2(1 - q)


def measured(p: Map, fov: Mask, working: float) -> dict[str, float]:
    """The measures of one map, computed at a working diameter. None knows the labels."""
    inside = np.where(fov, p, 0)
    values = inside[fov].astype(np.float64)
    found, likely = values[values > 0.5], values[values > 0.1]
    lines, halves, sure, between = (
        skeletonize(mask)
        for mask in (inside > 0.1, inside > 0.5, inside > 0.9, (inside > 0.1) & (inside <= 0.9))
    )
    # Lengths are in diameters of the field of view.
    length, unsure, half = (np.count_nonzero(mask) / SIDE for mask in (sure, between, halves))
    width = found.size / max(np.count_nonzero(halves), 1) * working / SIDE
    return {
        "width nearest 4 pixels": -abs(math.log(max(width, 1e-9) / 4)),
        "length > .9 / length .1 to .9": length / max(unsure, 1e-9),
        "length > .9 / (length .1 to .9 + 10)": length / (unsure + 10),
        "share > .9 of lines > .1": np.count_nonzero(lines & (inside > 0.9)) / max(lines.sum(), 1),
        "mean of abs(p - .5) where p > .1": float(np.abs(likely - 0.5).sum() / max(likely.size, 1)),
        "1 - entropy where p > .5": 1 - float(entropy(found).mean()) if found.size else 0.0,
        "F1 if calibrated": float(2 * found.sum() / max(found.size + values.sum(), 1e-9)),
        "length > .5": half,
        "length > .8": np.count_nonzero(skeletonize(inside > 0.8)) / SIDE,
        "length > .9": length,
        "information": float(entropy(values.mean()) - entropy(values).mean()),
        "certain length": float((2 * inside[halves] - 1).sum() / SIDE),
        CHOSEN: certainty(p, fov),
    }


def eye_of(fundus: Fundus, trained: Trained, shift: float, kept: Path) -> Eye:
    maps = maps_of(fundus, trained, shift, kept)
    assert fundus.label is not None
    label, fov = (
        resized_map(torch.from_numpy(mask)[None].float(), maps[0].shape)[0].numpy() > 0.5
        for mask in (fundus.label, fundus.fov)
    )
    diameters = [trained.settings.fov_diameter * STEP ** (FIRST + i + shift) for i in range(99)]
    rows = [measured(p, fov, d) for p, d in zip(maps, diameters, strict=False)]
    measures: dict[str, Sequence[float]] = {name: [row[name] for row in rows] for name in rows[0]}
    dice = [2 * np.minimum(p, q)[fov].sum() / (p + q)[fov].sum() for p, q in pairwise(maps)]
    measures["agreement with both sides, times length > .5"] = [
        (dice[i - 1] + dice[i]) / 2 * rows[i]["length > .5"] if 0 < i < len(dice) else 0.0
        for i in range(len(maps))
    ]

    def vessels(p: Map) -> Confusion:
        return Confusion.of((p > 0.5) & fov, label & fov, int(np.count_nonzero(fov)))

    return Eye([vessels(p) for p in maps], maps, vessels, measures)
