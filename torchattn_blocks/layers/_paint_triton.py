"""Drawing and painting on CUDA: one kernel that draws blocks, scales and zeroes.

No mask is kept in memory, and nothing comes back to the host: the seed is read by the kernel, so
that a CUDA graph can draw and use it. The random numbers are counter-based (Philox): they are a
function of the seed, the bin and the number of the hit alone.

The cells of a feature map are split into *bins*, which have the shape of a program's tile. A bin is
hit as a Poisson process: hits arrive at exponential gaps until the time, ``intensity`` times its
number of cells, is over, and each falls on a uniform cell; on a bin that the edge of the map cuts,
those beyond the edge do not count. As on CPUs, each cell is thereby hit at least once with
probability ``1 - exp(-intensity) = gamma``, independently of the others. A tile looks at the bins
from which blocks reach into it.

Imported where a tensor on CUDA is met, and by its test, which runs Triton's interpreter.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._block_mask import check_position_scale

_TILE = 2048  # elements of a program


@triton.jit
def _blocks(
    seed,
    plane,
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
    """Where blocks lie in a tile, as a number above 0: (TILE_D * TILE_H, TILE_W)."""
    row = tl.arange(0, TILE_D * TILE_H)
    d = tile_d * TILE_D + row // TILE_H
    h = tile_h * TILE_H + row % TILE_H
    w = tile_w * TILE_W + tl.arange(0, TILE_W)
    hit = tl.arange(0, HITS)
    bins_d = tl.cdiv(cells_d, TILE_D)
    bins_h = tl.cdiv(cells_h, TILE_H)
    bins_w = tl.cdiv(cells_w, TILE_W)
    # The first bin from which a block reaches here. (A quotient rounds towards 0, so keep it >= 0.)
    first_d = tl.maximum(tile_d * TILE_D - block_d + 1, 0) // TILE_D
    first_h = tl.maximum(tile_h * TILE_H - block_h + 1, 0) // TILE_H
    first_w = tl.maximum(tile_w * TILE_W - block_w + 1, 0) // TILE_W
    covered = tl.zeros((TILE_D * TILE_H, TILE_W), tl.float32)
    for bin_d in range(first_d, tl.minimum(tile_d + 1, bins_d)):
        for bin_h in range(first_h, tl.minimum(tile_h + 1, bins_h)):
            for bin_w in range(first_w, tl.minimum(tile_w + 1, bins_w)):
                place = ((plane * bins_d + bin_d) * bins_h + bin_h) * bins_w + bin_w
                arrived, drawn = time * 0, tile_w * 0
                while arrived < time:
                    number = (drawn + hit).to(tl.uint32)
                    low, high = (place & 0xFFFFFFFF).to(tl.uint32), (place >> 32).to(tl.uint32)
                    zero = number * 0
                    gap_bits, cell_bits, _, _ = tl.philox(
                        seed, number, zero + low, zero + high, zero
                    )
                    u = gap_bits.to(tl.float32) * 2.0**-32
                    # -log(1 - u), by its series where 1 - u would round.
                    series = u * (1 + u * (0.5 + u * 0.33333334))
                    gap = tl.where(u < 0.01, series, -tl.log(1 - tl.minimum(u, 0.99999994)))
                    arrival = arrived + tl.cumsum(gap, 0)
                    cell = (cell_bits & (TILE_D * TILE_H * TILE_W - 1)).to(tl.int32)
                    at_d = bin_d * TILE_D + cell // (TILE_H * TILE_W)
                    at_h = bin_h * TILE_H + cell // TILE_W % TILE_H
                    at_w = bin_w * TILE_W + cell % TILE_W
                    live = (arrival < time) & (at_d < cells_d) & (at_h < cells_h) & (at_w < cells_w)
                    rows = (d[:, None] >= at_d[None, :]) & (d[:, None] < at_d[None, :] + block_d)
                    rows &= (h[:, None] >= at_h[None, :]) & (h[:, None] < at_h[None, :] + block_h)
                    columns = (w[None, :] >= at_w[:, None]) & (w[None, :] < at_w[:, None] + block_w)
                    # Rows by hits, times hits by columns: how many blocks lie on each element.
                    covered += tl.dot((rows & live[None, :]).to(tl.float16), columns.to(tl.float16))
                    arrived = tl.max(arrival, 0)
                    drawn += HITS
    return covered


@triton.jit
def _covering(position, size, block):
    """How many cells' blocks cover each position of an axis: as `covering_cells`."""
    return tl.minimum(position, size - block) - tl.maximum(position - block + 1, 0) + 1


@triton.jit
def _drop(
    x,
    out,
    seed,
    covered_count,
    factor,
    factor_rest,
    intensity,
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
    """Write a tile of `x`, scaled and zeroed, into `out`; or COUNT its elements under a block."""
    tiles_h, tiles_w = tl.cdiv(size_h, TILE_H), tl.cdiv(size_w, TILE_W)
    tiles = tl.cdiv(size_d, TILE_D) * tiles_h * tiles_w
    program = tl.program_id(0).to(tl.int64)
    if CHANNELS_LAST:  # neighbours in memory are neighbours in time
        plane, tile = program % planes, program // planes
    else:
        plane, tile = program // tiles, program % tiles
    tile_d = (tile // (tiles_h * tiles_w)).to(tl.int32)
    tile_h = (tile // tiles_w % tiles_h).to(tl.int32)
    tile_w = (tile % tiles_w).to(tl.int32)
    covered = _blocks(
        tl.load(seed),
        plane if CHANNELWISE or COUNT else plane // channels,
        tile_d,
        tile_h,
        tile_w,
        tl.cast(intensity, tl.float32) * (TILE_D * TILE_H * TILE_W),
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
    row = tl.arange(0, TILE_D * TILE_H)
    d = (tile_d * TILE_D + row // TILE_H)[:, None]
    h = (tile_h * TILE_H + row % TILE_H)[:, None]
    w = (tile_w * TILE_W + tl.arange(0, TILE_W))[None, :]
    inside = (d < size_d) & (h < size_h) & (w < size_w)
    if COUNT:
        count = tl.sum(((covered > 0) & inside).to(tl.int32))
        tl.atomic_add(covered_count, count.to(tl.int64))
    else:
        n, c = plane // channels, plane % channels
        at = n * stride_n + c * stride_c + d.to(tl.int64) * stride_d + h * stride_h + w * stride_w
        value = tl.load(x + at, mask=inside)
        wide = tl.float64 if value.dtype == tl.float64 else tl.float32
        if SCALE == "batch":
            total = (planes if CHANNELWISE else planes // channels) * size_d * size_h * size_w
            kept = total - tl.load(covered_count)
            times = (total.to(tl.float64) / tl.maximum(kept, 1).to(tl.float64)).to(wide)
        elif SCALE == "position":
            cover = _covering(d, size_d, block_d) * _covering(h, size_h, block_h)
            cover *= _covering(w, size_w, block_w)
            times = tl.exp(cover.to(wide) * tl.cast(intensity, wide))
        else:  # a float64 in two halves: Triton takes numbers as float32
            times = tl.cast(factor, wide) + tl.cast(factor_rest, wide)
        kept_value = (value.to(wide) * times).to(value.dtype)
        at = n * out_n + c * out_c + d.to(tl.int64) * out_d + h * out_h + w * out_w
        tl.store(out + at, tl.where(covered > 0, 0.0, kept_value), mask=inside)


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
    lead = (1,) * (axes + 2 - x.dim())
    deep = (1,) * (3 - axes)

    def five(numbers: Any) -> tuple[int, ...]:  # as (N, C, D, H, W)
        return (*lead, *numbers[:-axes], *deep, *numbers[-axes:])

    samples, channels, *size = five(x.shape)
    tile = _tile(size)
    factor = 1 / (1 - p) if scale == "constant" else 1.0
    high = float(torch.tensor(factor, dtype=torch.float32))
    hits = intensity * math.prod(tile)
    count = torch.zeros((), dtype=torch.int64, device=x.device) if scale == "batch" else seed
    tiles = math.prod(-(-s // t) for s, t in zip(size, tile, strict=True))

    def launch(planes: int, *, counting: bool) -> None:
        _drop[(planes * tiles,)](
            x,
            out,
            seed.to(x.device, non_blocking=True),
            count,
            high,
            factor - high,
            intensity,
            planes,
            channels,
            *size,
            *(*deep, *block),
            *five(x.stride()),
            *five(out.stride()),
            CHANNELWISE=channelwise,
            SCALE=scale,
            COUNT=counting,
            CHANNELS_LAST=x.dim() > 1 and five(x.stride())[1] == 1,
            TILE_D=tile[0],
            TILE_H=tile[1],
            TILE_W=tile[2],
            # Three in four bins are drawn in one round; more of them only cost registers.
            HITS=min(128, max(16, triton.next_power_of_2(math.ceil(hits + math.sqrt(hits))))),
        )

    if scale == "batch":
        launch(samples * channels if channelwise else samples, counting=True)
    launch(samples * channels, counting=False)


def _tile(size: list[int]) -> tuple[int, int, int]:
    """The shape of a program's tile: powers of two, at least 16 rows of at least 16 columns."""
    depth, height, width = map(triton.next_power_of_2, size)
    columns = min(max(width, 16), 64)
    rows = min(max(height, 16), _TILE // columns)
    return min(depth, max(1, _TILE // columns // rows)), rows, columns
