"""Describe a mask of random blocks: its shape, its blocks, how often they fall, and its seed.

A `BlockMask` is a description, not an array: nothing is drawn until a painter (`_paint_cpu.py`)
paints it, and painting it twice gives the same blocks.

Notation, for one axis of a map: a *cell* is a place where a whole block fits, named by the block's
first element; there are ``size - block + 1`` of them, and a block starts in each with probability
gamma, independently of all others. The code works with *intensities*, ``-log(1 - gamma)``: an
element covered by n cells is kept with probability ``(1 - gamma)^n = exp(-n * intensity)``.
"""

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A position that must be multiplied by more than this is kept in fewer than one draw in a thousand.
# Its value is then noise in any dtype, and soon overflows in float16.
_LARGEST_POSITION_SCALE = 1024.0


def covering_cells(size: int, block: int) -> NDArray[np.int64]:
    """For each of `size` positions along an axis, the number of cells whose block covers it."""
    position = np.arange(size)
    last_cell = size - block
    return np.minimum(position, last_cell) - np.maximum(position - block + 1, 0) + 1


@lru_cache(maxsize=4096)
def paper_intensity(p: float, size: tuple[int, ...], block: tuple[int, ...]) -> float:
    """Intensity of equation 1 of Ghiasi, Lin & Le (2018): p / block area, border-corrected."""
    cells = math.prod(s - b + 1 for s, b in zip(size, block, strict=True))
    gamma = p / math.prod(block) * math.prod(size) / cells
    return -math.log1p(-min(gamma, 1 - 2**-53))  # at most p, except for rounding


@lru_cache(maxsize=4096)
def exact_intensity(p: float, size: tuple[int, ...], block: tuple[int, ...]) -> float:
    """Intensity at which the mean fraction dropped over the map is p.

    With n the number of cells that cover a position, it solves ``mean (1 - exp(-n t)) = p`` for t.
    The left side rises from 0 and bends down, so Newton's steps from t = 0 approach the only root
    from the left and never pass it.
    """
    cover, weight = np.ones(1), np.ones(1)
    for axis in zip(size, block, strict=True):
        n, times = np.unique(covering_cells(*axis), return_counts=True)
        cover, weight = np.outer(cover, n).ravel(), np.outer(weight, times / axis[0]).ravel()
    t = 0.0
    while True:
        short = p + weight @ np.expm1(-cover * t)
        step = float(short / (weight @ (cover * np.exp(-cover * t))))
        if step <= 1e-14 * t:
            return t
        t += step


INTENSITY = {"exact": exact_intensity, "paper": paper_intensity}


def check_position_scale(
    p: float, intensity: float, size: tuple[int, ...], block: tuple[int, ...]
) -> None:
    """Raise if a position is kept so rarely that its scale is noise, or overflows."""
    largest = math.exp(
        intensity * math.prod(covering_cells(*axis).max() for axis in zip(size, block, strict=True))
    )
    if largest > _LARGEST_POSITION_SCALE:
        raise ValueError(
            f'drop_block{len(size)}d: with scale="position" every position must be kept with a '
            f"probability of at least 1/{_LARGEST_POSITION_SCALE:g}, got {1 / largest:.2g} for "
            f"p={p:g}, block_size={block} and feature maps of size {size}. Lower p."
        )


def position_scale(
    p: float, intensity: float, size: tuple[int, ...], block: tuple[int, ...]
) -> NDArray[np.float64]:
    """The inverse of each position's own keep probability."""
    check_position_scale(p, intensity, size, block)
    cover = reduce(np.multiply.outer, map(covering_cells, size, block))
    return np.exp(intensity * cover)


class BlockMask(NamedTuple):
    """Blocks dropped into a tensor at random, as a function of `seed`.

    `shape` and `block` have one entry for each axis of the tensor; a block spans a whole axis where
    the two are equal, and one element where it is 1. The mask belongs to positions, not to memory:
    it is the same in every memory format.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    intensity: float
    seed: int

    @property
    def cells(self) -> tuple[int, ...]:
        """The number of places for a block's first element along each axis."""
        return _cells(self.shape, self.block)


@lru_cache(maxsize=4096)
def _cells(shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s - b + 1 for s, b in zip(shape, block, strict=True))
