"""Random blocks: how often they fall, where, and how they are written into a tensor.

A `BlockMask` is a description, not an array: nothing is drawn until it is painted, and painting it
twice gives the same blocks. That is what lets DropBlock keep a number for its backward pass and
not a mask.

Notation, for one axis of a map: a *cell* is a place where a whole block fits, named by the block's
first element; there are ``size - block + 1`` of them, and each holds a seed with probability gamma,
independently of all others. The work is in *intensities*, ``-log(1 - gamma)``: an element covered
by n cells is kept with probability ``(1 - gamma)^n = exp(-n * intensity)``.
"""

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# What painting costs on a CPU, in nanoseconds, measured by benchmarks/painting.py. Only the choice
# between two ways of drawing the same distribution hangs on these, never a result.
_NS_PER_SEED = 21.0
_NS_PER_PAINTED_ELEMENT = 5.0
_NS_PER_DENSE_ELEMENT = 2.2
_NS_PER_DENSE_SHIFT = 0.25


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
    return -math.log1p(-min(gamma, 1 - 2**-53))  # at most p, but for rounding


@lru_cache(maxsize=4096)
def exact_intensity(p: float, size: tuple[int, ...], block: tuple[int, ...]) -> float:
    """Intensity at which the mean fraction dropped over the map is p.

    With n the number of cells that cover a position, it solves ``mean (1 - exp(-n t)) = p`` for t.
    The left side rises from 0 and bends down, so that Newton's steps from t = 0 approach the one
    root from the left and never pass it.
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
        return tuple(s - b + 1 for s, b in zip(self.shape, self.block, strict=True))

    def fill_(self, out: Tensor, value: float) -> Tensor:
        """Write `value` into `out`, of the mask's shape, wherever a block lies."""
        if out.device.type == "cpu" and self._is_sparse():
            # One flat view over the memory of `out`, whatever its strides, so that a block is a
            # set of offsets that is added to the address of its first element.
            extent = 1 + sum((n - 1) * s for n, s in zip(out.shape, out.stride(), strict=True))
            flat = out.as_strided((extent,), (1,))
            flat.index_fill_(0, self._sparse_addresses(out.stride()), value)
            return out
        return out.masked_fill_(self._dense(out.device), value)

    def _is_sparse(self) -> bool:
        seeds = self.intensity * math.prod(self.cells)
        shifts = sum(math.ceil(math.log2(b)) for b in self.block)
        sparse = seeds * (_NS_PER_SEED + _NS_PER_PAINTED_ELEMENT * math.prod(self.block))
        return sparse < math.prod(self.shape) * (
            _NS_PER_DENSE_ELEMENT + _NS_PER_DENSE_SHIFT * shifts
        )

    def _sparse_addresses(self, stride: tuple[int, ...]) -> Tensor:
        """Addresses of all elements of all blocks, drawn as rarely as seeds are.

        A Poisson number of hits, thrown uniformly over the cells with repetition, hits each cell a
        Poisson number of times, independently of the others: at least once with probability
        ``1 - exp(-intensity) = gamma``, exactly.
        """
        rng = np.random.Generator(np.random.SFC64(self.seed))
        cells = math.prod(self.cells)
        hits = rng.integers(0, cells, rng.poisson(cells * self.intensity))
        first = sum(
            index * s for index, s in zip(np.unravel_index(hits, self.cells), stride, strict=True)
        )
        offset = reduce(
            np.add.outer, [np.arange(b) * s for b, s in zip(self.block, stride, strict=True)]
        )
        return torch.from_numpy(np.add.outer(first, offset.ravel()).ravel())

    def _dense(self, device: torch.device) -> Tensor:
        """A boolean mask that broadcasts to the shape, drawn cell by cell."""
        mask = self._dense_seeds(device)
        for axis, (size, block) in enumerate(zip(self.shape, self.block, strict=True)):
            if block == size:
                continue  # one cell: its block is the whole axis, which broadcasting paints
            width = 1
            while width < block:  # OR-ing with a shifted copy doubles the width painted
                shift = min(width, block - width)
                behind = [0, 0] * (mask.dim() - 1 - axis)
                mask = F.pad(mask, [*behind, 0, shift]) | F.pad(mask, [*behind, shift, 0])
                width += shift
        return mask

    def _dense_seeds(self, device: torch.device) -> Tensor:
        gamma = -math.expm1(-self.intensity)
        if device.type != "cpu":
            generator = torch.Generator(device).manual_seed(self.seed)
            return torch.rand(self.cells, generator=generator, device=device) < gamma
        # One random byte decides for all but one cell in 256; a second number decides the ties.
        rng = np.random.Generator(np.random.SFC64(self.seed))
        cells = math.prod(self.cells)
        byte = rng.bit_generator.random_raw(cells // 8 + 1).view(np.uint8)[:cells]
        whole, fraction = divmod(gamma * 256, 1.0)
        seeds = byte < whole
        ties = np.flatnonzero(byte == whole)
        seeds[ties] = rng.random(len(ties)) < fraction
        return torch.from_numpy(seeds).view(self.cells)


@lru_cache(maxsize=1024)
def covered_elements(mask: BlockMask, device: torch.device) -> int:
    """The number of elements that lie under a block.

    Remembered because the backward pass, and activation checkpointing, ask again for the same mask.
    """
    canvas = torch.zeros(mask.shape, dtype=torch.bool, device=device)
    return int(mask.fill_(canvas, True).count_nonzero())
