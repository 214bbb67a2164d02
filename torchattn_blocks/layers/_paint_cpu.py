"""Painters: how the blocks of a `BlockMask` are written into a tensor.

Two ways of drawing the same distribution, `paint_sparse_` and `paint_dense_`, with one signature.
They draw different masks from one seed, so that which of them paints is part of what a seed means:
`paints_sparse` decides it by the mask alone, by fixed rules.
"""

import math
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ._block_mask import BlockMask

# What painting costs, in nanoseconds, once measured by benchmarks/painting.py. Never adjusted to a
# machine: with other numbers here the same seed would draw other masks (a golden test holds them).
_NS_PER_SEED = 21.0
_NS_PER_PAINTED_ELEMENT = 5.0
_NS_PER_DENSE_ELEMENT = 2.2
_NS_PER_DENSE_SHIFT = 0.25


def paint_(mask: BlockMask, out: Tensor, value: float) -> Tensor:
    """Write `value` into `out`, of the mask's shape, wherever a block lies."""
    if out.device.type == "cpu" and paints_sparse(mask):
        return paint_sparse_(mask, out, value)
    return paint_dense_(mask, out, value)


def paints_sparse(mask: BlockMask) -> bool:
    """Whether painting block by block is the cheaper way on a CPU."""
    seeds = mask.intensity * math.prod(mask.cells)
    shifts = sum(math.ceil(math.log2(b)) for b in mask.block)
    sparse = seeds * (_NS_PER_SEED + _NS_PER_PAINTED_ELEMENT * math.prod(mask.block))
    dense = math.prod(mask.shape) * (_NS_PER_DENSE_ELEMENT + _NS_PER_DENSE_SHIFT * shifts)
    return sparse < dense


def paint_sparse_(mask: BlockMask, out: Tensor, value: float) -> Tensor:
    """Paint block by block, on a CPU.

    A Poisson number of hits, thrown uniformly over the cells with repetition, hits each cell a
    Poisson number of times, independently of the others: at least once with probability
    ``1 - exp(-intensity) = gamma``, exactly.
    """
    rng = np.random.Generator(np.random.SFC64(mask.seed))
    cells = math.prod(mask.cells)
    hits = rng.integers(0, cells, rng.poisson(cells * mask.intensity))
    # One flat view over the memory of `out`, whatever its strides, so that a block is a set of
    # offsets that is added to the address of its first element.
    stride = out.stride()
    first = sum(
        index * s for index, s in zip(np.unravel_index(hits, mask.cells), stride, strict=True)
    )
    offset = reduce(
        np.add.outer, [np.arange(b) * s for b, s in zip(mask.block, stride, strict=True)]
    )
    addresses = np.add.outer(first, offset.ravel()).ravel()
    extent = 1 + sum((n - 1) * s for n, s in zip(out.shape, stride, strict=True))
    out.as_strided((extent,), (1,)).index_fill_(0, torch.from_numpy(addresses), value)
    return out


def paint_dense_(mask: BlockMask, out: Tensor, value: float) -> Tensor:
    """Paint from a boolean mask, drawn cell by cell; on any device."""
    drawn = _dense_seeds(mask, out.device)
    for axis, (size, block) in enumerate(zip(mask.shape, mask.block, strict=True)):
        if block == size:
            continue  # one cell: its block is the whole axis, which broadcasting paints
        width = 1
        while width < block:  # OR-ing with a shifted copy doubles the width painted
            shift = min(width, block - width)
            behind = [0, 0] * (drawn.dim() - 1 - axis)
            drawn = F.pad(drawn, [*behind, 0, shift]) | F.pad(drawn, [*behind, shift, 0])
            width += shift
    return out.masked_fill_(drawn, value)


def _dense_seeds(mask: BlockMask, device: torch.device) -> Tensor:
    gamma = -math.expm1(-mask.intensity)
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(mask.seed)
        return torch.rand(mask.cells, generator=generator, device=device) < gamma
    # One random byte decides for all but one cell in 256; a second number decides the ties.
    rng = np.random.Generator(np.random.SFC64(mask.seed))
    cells = math.prod(mask.cells)
    byte = rng.bit_generator.random_raw(cells // 8 + 1).view(np.uint8)[:cells]
    whole, fraction = divmod(gamma * 256, 1.0)
    seeds = byte < whole
    ties = np.flatnonzero(byte == whole)
    seeds[ties] = rng.random(len(ties)) < fraction
    return torch.from_numpy(seeds).view(mask.cells)


@lru_cache(maxsize=1024)
def covered_elements(mask: BlockMask, device: torch.device) -> int:
    """The number of elements that lie under a block.

    Remembered because the backward pass, and activation checkpointing, ask again for the same mask.
    """
    canvas = torch.zeros(mask.shape, dtype=torch.bool, device=device)
    return int(paint_(mask, canvas, True).count_nonzero())
