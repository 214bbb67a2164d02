"""Drawing and painting on a CPU: where the blocks of a `BlockMask` lie, and writing over them.

There are two ways to draw from the same distribution: `SparseBlocks` lists the blocks,
`DenseBlocks` is a boolean mask. They draw different masks from one seed, so the choice between them
must never vary for a seed: `draws_sparse` decides by fixed rules that look only at the mask.
"""

import math
import threading
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ._block_mask import BlockMask

# The cost of painting in nanoseconds, measured once by benchmarks/painting.py. Do not adjust it to
# a machine: other numbers would draw other masks from the same seed (a golden test checks them).
_NS_PER_SEED = 12.0
_NS_PER_PAINTED_ELEMENT = 3.0
_NS_PER_DENSE_ELEMENT = 4.0
_NS_PER_DENSE_SHIFT = 0.1

SMALL = 512  # painting this many elements costs less than the calls that would save some of them


@lru_cache(maxsize=1024)
def draws_sparse(shape: tuple[int, ...], block: tuple[int, ...], intensity: float) -> bool:
    """Whether painting block by block is cheaper on a CPU."""
    seeds = intensity * math.prod(s - b + 1 for s, b in zip(shape, block, strict=True))
    shifts = sum(math.ceil(math.log2(b)) for b in block)
    sparse = seeds * (_NS_PER_SEED + _NS_PER_PAINTED_ELEMENT * math.prod(block))
    dense = math.prod(shape) * (_NS_PER_DENSE_ELEMENT + _NS_PER_DENSE_SHIFT * shifts)
    return sparse < dense


def draw_blocks(mask: BlockMask, device: torch.device) -> "SparseBlocks | DenseBlocks":
    """Draw the blocks of `mask` in the cheaper way; on other devices than CPUs, densely."""
    if device.type == "cpu" and draws_sparse(mask.shape, mask.block, mask.intensity):
        return SparseBlocks(mask)
    return DenseBlocks(mask, device)


_local = threading.local()


def _generator(seed: int) -> "np.random.Generator":  # np.random is loaded when first needed
    """A generator started from `seed` as SFC64's author does.

    Each thread has one and restarts it: making a new one costs more than drawing a few blocks.
    """
    if not hasattr(_local, "numbers"):
        _local.bits = np.random.SFC64(0)
        _local.state = _local.bits.state
        _local.numbers = np.random.Generator(_local.bits)
    words = _local.state["state"]["state"]
    words[:3], words[3] = seed, 1
    _local.bits.state = _local.state
    _local.bits.random_raw(12, output=False)
    return _local.numbers


class SparseBlocks:
    """A list of blocks.

    A Poisson number of hits falls uniformly on the cells, with repetition. Each cell is then hit a
    Poisson number of times, independently of the others. The probability of at least one hit is
    ``1 - exp(-intensity)``, which is exactly gamma.
    """

    def __init__(self, mask: BlockMask) -> None:
        rng = _generator(mask.seed)
        cells = math.prod(mask.cells)
        self.mask = mask
        # A float64 below 1 times a whole number rounds to less than that number.
        self._hits = (rng.random(rng.poisson(cells * mask.intensity)) * cells).astype(np.int64)
        self._starts: tuple[tuple[int, ...], Tensor] | None = None
        self._painted: Tensor | None = None

    def drop(self, x: Tensor, factor: float | Tensor, out: Tensor) -> Tensor:
        """Write `x` times `factor` into `out`, zero where a block lies. The mask is broadcast."""
        if out.shape == self.mask.shape:
            return self._fill(torch.mul(x, factor, out=out), 0.0)
        return drop_where(self.painted(), x, factor, out)

    def count(self) -> int:
        """The number of the mask's elements that lie under a block."""
        return int(np.count_nonzero(self.painted().numpy()))

    def painted(self) -> Tensor:
        """The mask: true under a block."""
        if self._painted is None:
            shape = self.mask.shape
            if math.prod(shape) <= SMALL:  # fewer calls, though more elements, than below
                mask = np.zeros(shape, bool)
                mask.ravel()[_elements(shape, self.mask.block)[self._hits]] = True
                self._painted = torch.from_numpy(mask)
            else:
                self._painted = self._fill(torch.zeros(shape, dtype=torch.bool, device="cpu"), True)
        return self._painted

    def _fill(self, out: Tensor, value: float) -> Tensor:
        stride = out.stride()
        layout = _layout(self.mask.shape, self.mask.block, stride)
        if self._starts is None or self._starts[0] != stride:  # if equal, reuse the last tensor's
            first = self._hits * stride[-1]
            for cells, jump in layout.jumps:
                first += self._hits // cells * jump
            starts = torch.from_numpy(np.add.outer(first, layout.starts).ravel())
            self._starts = (stride, starts)
        runs = out.as_strided(layout.runs, (1, layout.stride))
        runs.index_fill_(0, self._starts[1], value)
        return out


class _Layout(NamedTuple):
    """Cells and blocks in memory.

    A cell lies at its number times the last stride, plus a jump each time a certain number of cells
    has been passed, for example at the end of a row. A block consists of runs of elements at equal
    distances. `runs` is the shape of a view with a row for each address at which a run may start.
    Its rows overlap in memory.
    """

    jumps: tuple[tuple[int, int], ...]
    starts: NDArray[np.int64]
    runs: tuple[int, int]
    stride: int


@lru_cache(maxsize=1024)
def _layout(shape: tuple[int, ...], block: tuple[int, ...], stride: tuple[int, ...]) -> _Layout:
    jumps, passed = [], 1
    cells = [s - b + 1 for s, b in zip(shape, block, strict=True)]
    for axis in reversed(range(1, len(shape))):
        passed *= cells[axis]
        jumps.append((passed, stride[axis - 1] - cells[axis] * stride[axis]))
    axes = sorted((s, b) for s, b in zip(stride, block, strict=True) if b > 1)
    step, length = axes.pop(0) if axes else (1, 1)
    while axes and axes[0][0] == step * length:  # the next axis continues the run
        length *= axes.pop(0)[1]
    starts = reduce(np.add.outer, [np.arange(b) * s for s, b in axes], np.zeros(1, np.int64))
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    runs = (extent - (length - 1) * step, length)
    return _Layout(tuple(jump for jump in jumps if jump[1]), starts.ravel(), runs, step)


@lru_cache(maxsize=64)
def _elements(shape: tuple[int, ...], block: tuple[int, ...]) -> NDArray[np.int64]:
    """The numbers of the elements under each cell's block."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return np.lib.stride_tricks.sliding_window_view(numbers, block).reshape(-1, math.prod(block))


class DenseBlocks:
    """A boolean mask, drawn cell by cell; on any device."""

    def __init__(self, mask: BlockMask, device: torch.device) -> None:
        drawn = _dense_seeds(mask, device)
        for axis, (size, block) in enumerate(zip(mask.shape, mask.block, strict=True)):
            if block == size:
                continue  # one cell: its block is the whole axis; broadcasting paints it
            width = 1
            while width < block:  # OR with a shifted copy doubles the painted width
                shift = min(width, block - width)
                behind = [0, 0] * (drawn.dim() - 1 - axis)
                drawn = F.pad(drawn, [*behind, 0, shift]) | F.pad(drawn, [*behind, shift, 0])
                width += shift
        self.mask = mask
        self._painted = drawn

    def drop(self, x: Tensor, factor: float | Tensor, out: Tensor) -> Tensor:
        """Write `x` times `factor` into `out`, zero where a block lies. The mask is broadcast."""
        return drop_where(self._painted, x, factor, out)

    def count(self) -> int:
        """The number of the mask's elements that lie under a block."""
        repeats = math.prod(self.mask.shape) // self._painted.numel()
        return int(self._painted.count_nonzero()) * repeats

    def painted(self) -> Tensor:
        """The mask, to be broadcast: true under a block."""
        return self._painted


def drop_where(dropped: Tensor, x: Tensor, factor: float | Tensor, out: Tensor) -> Tensor:
    """Write `x` times `factor` into `out`, zero where `dropped`, which is broadcast, is true."""
    if out.device.type != "cpu":
        return torch.mul(x, factor, out=out).masked_fill_(dropped, 0.0)
    # On a CPU a product costs a third of `masked_fill_`.
    kept = dropped.logical_not().to(x.dtype)
    if x.dtype.itemsize >= 4:
        kept = kept * factor if isinstance(factor, Tensor) else kept.mul_(factor)
        torch.mul(x, kept, out=out)
    else:  # here a separate factor would be rounded
        torch.mul(x, kept, out=out).mul_(factor)
    if not out.sum(dtype=torch.promote_types(out.dtype, torch.float32)).isfinite():
        out.masked_fill_(dropped, 0.0)  # zero times an infinite or NaN element is not zero
    return out


def _dense_seeds(mask: BlockMask, device: torch.device) -> Tensor:
    gamma = -math.expm1(-mask.intensity)
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(mask.seed)
        return torch.rand(mask.cells, generator=generator, device=device) < gamma
    # One random byte decides for all but one cell in 256; a second number decides the ties.
    rng = _generator(mask.seed)
    cells = math.prod(mask.cells)
    byte = rng.bit_generator.random_raw(cells // 8 + 1).view(np.uint8)[:cells]
    whole, fraction = divmod(gamma * 256, 1.0)
    seeds = byte < whole
    ties = np.flatnonzero(byte == whole)
    seeds[ties] = rng.random(len(ties)) < fraction
    return torch.from_numpy(seeds).view(mask.cells)
