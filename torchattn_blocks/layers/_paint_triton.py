"""Drawing and painting on CUDA: one kernel that draws blocks, scales and zeroes.

It keeps no mask in memory and returns nothing to the host: the kernel reads the seed, so a CUDA
graph can draw and use it. The random numbers are counter-based (Philox): they depend only on the
seed, the bin and the number of the hit.

The cells of a feature map are split into *bins*, which have the shape of a program's tile. Hits on
a bin form a Poisson process: they arrive at exponential gaps until the time, ``intensity`` times
the bin's number of cells, is over. Each hit falls on a uniformly drawn cell. Where the edge of the
map cuts a bin, hits beyond the edge do not count. As on CPUs, each cell is hit at least once with
probability ``1 - exp(-intensity) = gamma``, independently of the others. A tile looks at the bins
from which blocks reach into it.

Many kernels are compiled from the one below (for each dtype and memory format, and for counting),
and all must draw the same blocks, since the backward pass repeats the forward pass's mask. So time
is counted in whole ticks, whose sum is the same in any order of addition. No kernel may fuse
multiplications with additions, which rounds differently.

Imported when a CUDA tensor first arrives, and by its test, which runs Triton's interpreter.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ._block_mask import check_position_scale

_TILE = 2048  # elements of a program
_TICKS = 2**32  # in the mean gap between two hits


@triton.jit
def _gap(bits):
    """The gap before a hit, exponential with mean 1, in ticks, from 32 random bits."""
    u = bits.to(tl.float32) * 2.0**-32
    # -log(1 - u): by its series where 1 - u would lose digits; stays finite where u rounds to 1.
    series = u * (1 + u * (0.5 + u * 0.33333334))
    gap = tl.where(u < 0.01, series, -tl.log(1 - tl.minimum(u, 0.99999994)))
    return (gap * 2.0**32).to(tl.int64)


@triton.jit
def _on(position, first, block):
    """Whether `position` lies on the block from `first` on: earlier ones are huge as unsigned."""
    return (position - first).to(tl.uint32) < tl.cast(block, tl.uint32)


@triton.jit
def _first_bin(tile, block, TILE: tl.constexpr):
    """The first bin from which a block reaches into a tile."""
    return tl.maximum(tile * TILE - block + 1, 0) // TILE  # // rounds towards 0, so keep it >= 0


@triton.jit
def _blocks(
    seed,
    plane,
    d,
    h,
    w,
    tile_d,
    tile_h,
    tile_w,
    time,
    cells_d,
    cells_h,
    cells_w,
    block_d,
    block_h,
    block_w,
    TILE_D: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    HITS: tl.constexpr,
):
    """Whether a block lies on the elements of a tile: rows at (d, h), columns at w."""
    hit = tl.arange(0, HITS)
    zero = (hit * 0).to(tl.uint32)
    bins_d = tl.cdiv(cells_d, TILE_D)
    bins_h = tl.cdiv(cells_h, TILE_H)
    bins_w = tl.cdiv(cells_w, TILE_W)
    covered = tl.zeros((d.shape[0], TILE_W), tl.float32)
    for bin_d in range(_first_bin(tile_d, block_d, TILE_D), tl.minimum(tile_d + 1, bins_d)):
        for bin_h in range(_first_bin(tile_h, block_h, TILE_H), tl.minimum(tile_h + 1, bins_h)):
            for bin_w in range(_first_bin(tile_w, block_w, TILE_W), tl.minimum(tile_w + 1, bins_w)):
                place = ((plane.to(tl.int64) * bins_d + bin_d) * bins_h + bin_h) * bins_w + bin_w
                low = zero + (place & 0xFFFFFFFF).to(tl.uint32)
                high = zero + (place >> 32).to(tl.uint32)
                arrived = time * 0
                number = hit
                while arrived < time:
                    gap_bits, cell_bits, _, _ = tl.philox(
                        seed, number.to(tl.uint32), low, high, zero
                    )
                    gap = _gap(gap_bits)
                    cell = (cell_bits & (TILE_D * TILE_H * TILE_W - 1)).to(tl.int32)
                    at_d = bin_d * TILE_D + cell // (TILE_H * TILE_W)
                    at_h = bin_h * TILE_H + cell // TILE_W % TILE_H
                    at_w = bin_w * TILE_W + cell % TILE_W
                    live = arrived + tl.cumsum(gap, 0) < time
                    live &= (at_d < cells_d) & (at_h < cells_h) & (at_w < cells_w)
                    rows = _on(d[:, None], at_d[None, :], block_d) & live[None, :]
                    rows &= _on(h[:, None], at_h[None, :], block_h)
                    columns = _on(w[None, :], at_w[:, None], block_w)
                    # (rows x hits) times (hits x columns): the number of blocks on each element.
                    covered += tl.dot(rows.to(tl.float16), columns.to(tl.float16))
                    arrived += tl.sum(gap, 0)
                    number += HITS
    return covered > 0


@triton.jit
def _covering(position, size, block):
    """How many cells' blocks cover each position of an axis, as in `covering_cells`."""
    return tl.minimum(position, size - block) - tl.maximum(position - block + 1, 0) + 1


@triton.jit(do_not_specialize=["time", "factor", "intensity", "planes", "channels"])
def _drop(
    x,
    out,
    seed,
    kept,
    time: tl.int64,
    factor: tl.int64,
    intensity: tl.int64,
    planes,
    channels,
    size_d,
    size_h,
    size_w,
    block_d,
    block_h,
    block_w,
    stride_n,
    stride_c,
    stride_d,
    stride_h,
    stride_w,
    out_n,
    out_c,
    out_d,
    out_h,
    out_w,
    CHANNELWISE: tl.constexpr,
    SCALE: tl.constexpr,
    COUNT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    TILE_D: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    HITS: tl.constexpr,
):
    """Write a tile of `x`, scaled and zeroed, into `out`; or subtract dropped ones from `kept`."""
    tiles_h, tiles_w = tl.cdiv(size_h, TILE_H), tl.cdiv(size_w, TILE_W)
    tiles = tl.cdiv(size_d, TILE_D) * tiles_h * tiles_w
    program = tl.program_id(0)
    if CHANNELS_LAST:  # neighbours in memory are neighbours in time
        plane, tile = program % planes, program // planes
    else:
        plane, tile = program // tiles, program % tiles
    tile_d, tile_h, tile_w = tile // (tiles_h * tiles_w), tile // tiles_w % tiles_h, tile % tiles_w
    # Tensor cores multiply at least 16 rows. If a tile has fewer, the rest lie beyond the edge.
    rows: tl.constexpr = TILE_D * TILE_H if TILE_D * TILE_H > 16 else 16
    row = tl.arange(0, rows)
    d = tile_d * TILE_D + row // TILE_H
    h = tile_h * TILE_H + row % TILE_H
    w = tile_w * TILE_W + tl.arange(0, TILE_W)
    dropped = _blocks(
        tl.load(seed),
        plane if CHANNELWISE or COUNT else plane // channels,
        d,
        h,
        w,
        tile_d,
        tile_h,
        tile_w,
        tl.cast(time, tl.int64),
        size_d - block_d + 1,
        size_h - block_h + 1,
        size_w - block_w + 1,
        block_d,
        block_h,
        block_w,
        TILE_D,
        TILE_H,
        TILE_W,
        HITS,
    )
    d, h, w = d[:, None], h[:, None], w[None, :]
    if COUNT:  # blocks lie inside the feature map, so no element beyond it is counted
        tl.atomic_add(kept, -tl.sum(dropped.to(tl.int32)).to(tl.int64))
    else:
        n, c = (plane // channels).to(tl.int64), (plane % channels).to(tl.int64)
        deep, high = d.to(tl.int64), h.to(tl.int64)  # offsets of rows may exceed 2^31
        at = n * stride_n + c * stride_c + deep * stride_d + high * stride_h
        inside = (d < size_d) & (h < size_h) & (w < size_w)
        value = tl.load(x + at + w * stride_w, mask=inside)
        wide = tl.float64 if value.dtype == tl.float64 else tl.float32
        if SCALE == "position":
            cover = _covering(d, size_d, block_d) * _covering(h, size_h, block_h)
            cover *= _covering(w, size_w, block_w)
            times = tl.exp(cover.to(wide) * _float64(intensity).to(wide))
        elif SCALE == "batch":  # if nothing is kept, nothing is scaled
            times = (_float64(factor) / tl.maximum(tl.load(kept), 1).to(tl.float64)).to(wide)
        else:
            times = _float64(factor).to(wide)
        scaled = (value.to(wide) * times).to(value.dtype)
        at = n * out_n + c * out_c + deep * out_d + high * out_h
        tl.store(out + at + w * out_w, tl.where(dropped, 0.0, scaled), mask=inside)


@triton.jit
def _float64(bits):
    return tl.cast(bits, tl.int64).to(tl.float64, bitcast=True)


def _bits(number: float) -> int:
    """A float64 as an integer: Triton would treat a Python float as a float32."""
    return int(np.float64(number).view(np.int64))


def write(
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    block: tuple[int, ...],
    intensity: float,
    scale: str,
    p: float,
    channelwise: bool,
) -> None:
    """Write `x`, shape (N, C, *size) or (C, *size), with its blocks dropped into `out`."""
    axes = len(block)
    if scale == "position":
        check_position_scale(p, intensity, tuple(x.shape[-axes:]), block)

    def five(numbers: Sequence[int], missing: int) -> tuple[int, ...]:  # as (N, C, D, H, W)
        batch, deep = (missing,) * (axes + 2 - x.dim()), (missing,) * (3 - axes)
        return (*batch, *numbers[:-axes], *deep, *numbers[-axes:])

    samples, channels, *size = five(x.shape, 1)
    # A missing axis has a stride of 0. (With 1, the compiler would lose the alignment.)
    strides = five(x.stride(), 0)
    tile = _tile(size)
    tiles = math.prod(-(-s // t) for s, t in zip(size, tile, strict=True))
    if samples * channels * tiles >= 2**31:
        raise ValueError(
            f"drop_block{axes}d: on CUDA x must have fewer than 2^31 tiles of {tile} elements, got "
            f"shape {tuple(x.shape)}. Split the batch."
        )
    hits = intensity * math.prod(tile)
    masks = samples * channels if channelwise else samples
    seed = seed.to(x.device, non_blocking=True)
    factor, kept = 1 / (1 - p) if scale == "constant" else 1.0, seed
    if scale == "batch":
        factor = masks * math.prod(size)
        kept = torch.full((), factor, dtype=torch.int64, device=x.device)

    def launch(planes: int, *, counting: bool) -> None:
        _drop[(planes * tiles,)](
            x,
            out,
            seed,
            kept,
            round(hits * _TICKS),
            _bits(factor),
            _bits(intensity),
            planes,
            channels,
            *size,
            *(*(1,) * (3 - axes), *block),
            *strides,
            *five(out.stride(), 0),
            CHANNELWISE=channelwise,
            SCALE=scale,
            COUNT=counting,
            CHANNELS_LAST=strides[1] == 1,
            TILE_D=tile[0],
            TILE_H=tile[1],
            TILE_W=tile[2],
            # Most bins are drawn in one round; more of them only cost registers.
            HITS=min(64, max(16, triton.next_power_of_2(math.ceil(hits + math.sqrt(hits))))),
            enable_fp_fusion=False,
        )

    with torch.cuda.device_of(x):
        if scale == "batch":
            launch(masks, counting=True)
        launch(samples * channels, counting=False)


def _tile(size: list[int]) -> tuple[int, int, int]:
    """The shape of a program's tile: powers of two, at least 16 columns.

    A tile with fewer than 16 rows holds all rows of a feature map.
    """
    depth, height, width = map(triton.next_power_of_2, size)
    columns = min(max(width, 16), 32 if depth > 1 else 64 if height > 1 else 128)
    rows = min(height, _TILE // columns // min(depth, 8))
    return min(depth, _TILE // columns // rows), rows, columns
