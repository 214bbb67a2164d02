"""The operator behind DropBlock, for any number of spatial axes.

It is linear in `x`: it multiplies each element by a number that depends only on the seed, the rate
and the position. It is therefore its own transpose: the backward pass, and all higher derivatives,
apply the operator itself, with the same arguments, to the gradient. They keep only the seed and
paint the mask again from it.

Eager code runs an `autograd.Function`. Compiled code, exported programs and tensors without data
(meta, fake) see a custom operator. Torch supports only reverse mode and vmap for a custom operator.
So in forward mode and in the transforms of `torch.func` it makes a mask, and torch's own product
applies the mask.

Who calls whom, in which mode: `drop_block2d` and its siblings draw the seed and call `drop_blocks`,
which checks what runs:

- eager, without gradients: `_dropped`, which calls `_write`;
- eager, with gradients, on a small feature map on a CPU: `_masked`, in torch's own operators, which
  keep the mask. On small maps, painting twice and a Python function in the graph would cost more
  than everything else;
- eager, with gradients: `_DropBlock`. Its forward calls `_dropped`; its backward calls
  `drop_blocks` again, since the gradient may be compiled, transformed or differentiated again;
- eager, while a dispatch mode watches operators: `_dropped` calls `drop_block_operator` instead of
  `_write`, so that the mode sees the operator;
- compiled, exported, fake or meta: torch records `drop_block_operator`. When it runs later, it
  calls `_write`; its fake gives its shape; its derivative, `_operator_backward`, is the operator
  itself;
- forward mode and `torch.func`: `drop_block_operator` on ones makes the mask. Under `vmap` its rule
  runs it once for each sample.

Only `_write` paints, from the seed: with `_paint_triton` on CUDA if Triton is installed, with
`_paint_cpu` otherwise.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .._check import check_rate
from .._torch import FakeTensor, is_transformed, is_view, is_watched
from ._block_mask import INTENSITY, BlockMask, position_scale
from ._dropping import refuse_dtensor
from ._eager import has_memory
from ._paint_cpu import SMALL, DenseBlocks, SparseBlocks, draw_blocks


def drop_blocks(
    x: Tensor,
    seed: Tensor,
    p: float | Tensor,
    block_size: tuple[int, ...],
    gamma: str,
    scale: str,
    channelwise: bool,
    *,
    inplace: bool,
) -> Tensor:
    """Drop blocks of `x`, shape (N, C, *size) or (C, *size). The caller checks arguments."""
    options = (block_size, gamma, scale, channelwise)
    if has_memory(x):
        if not (x.requires_grad and torch.is_grad_enabled()):
            return _dropped(x, seed, float(p), *options, inplace=inplace)
        if inplace and is_view(x):  # torch refuses some views, before it copies
            return x.copy_(drop_blocks(x, seed, p, *options, inplace=False))
        if inplace and x.is_leaf:  # the error of torch, but before `x` is overwritten
            raise RuntimeError(
                f"{_name(block_size)}: x is a leaf Variable that requires grad: it cannot be used "
                "with inplace=True"
            )
        if _is_small(x) and 0 < float(p) < 1 and not (inplace or is_watched(x)):
            return _masked(x, seed, float(p), *options)
        return _DropBlock.apply(x, inplace, seed, float(p), *options)  # type: ignore[no-untyped-call]
    _check_supported(x, _name(block_size))
    rate = _rate(p)
    if isinstance(x, FakeTensor) and not isinstance(seed, FakeTensor):  # its mode has ended
        seed, rate = map(x.fake_mode.from_tensor, (seed, rate))
    if not is_transformed():
        dropped = drop_block_operator(x, seed, rate, *options)
        return x.copy_(dropped) if inplace else dropped
    mask = drop_block_operator(torch.ones_like(x), seed, rate, *options)
    if inplace:
        return x.mul_(mask).masked_fill_(mask == 0, 0)  # infinity times zero is not zero
    return torch.where(mask == 0, mask, x * mask)


def _is_small(x: Tensor) -> bool:
    """Whether a mask of `x` may be kept. Torch lacks some operators for one-byte dtypes."""
    return 0 < x.numel() <= SMALL and x.device.type == "cpu" and x.dtype.itemsize > 1


def _masked(
    x: Tensor,
    seed: Tensor,
    p: float,
    block_size: tuple[int, ...],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> Tensor:
    """The operator made of torch's own: the same as `_write`, except for the sign of zeros."""
    blocks = _blocks(x, seed, p, block_size, gamma, channelwise)
    factor = SCALE[scale](x, blocks, p, len(block_size))
    return x.mul(factor).masked_fill_(blocks.painted(), 0.0)


def _name(block_size: Sequence[int]) -> str:
    """The name of the function in error messages."""
    return f"drop_block{len(block_size)}d"


def _check_supported(x: Tensor, name: str) -> None:
    """Raise a clear error where torch would only report an unknown operator."""
    refuse_dtensor(name, x)
    if not torch.compiler.is_dynamo_compiling() and torch.onnx.is_in_onnx_export():
        raise RuntimeError(
            f"{name}: it has no translation to ONNX. Call model.eval() before torch.onnx.export: "
            "in evaluation DropBlock returns its input"
        )


def _rate(p: float | Tensor) -> Tensor:
    return p if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float64, device="cpu")


@torch.library.custom_op("torchattn_blocks::drop_block", mutates_args=())
def drop_block_operator(
    x: Tensor,
    seed: Tensor,
    p: Tensor,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> Tensor:
    """The operator that recorded graphs contain."""
    out = torch.empty_like(x)
    rate = check_rate(_name(block_size), p)  # a tensor's value was not readable earlier
    _write(x, out, seed, rate, block_size, gamma, scale, channelwise)
    return out


@drop_block_operator.register_fake
def _(
    x: Tensor,
    seed: Tensor,
    p: Tensor,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> Tensor:
    _check_supported(x, _name(block_size))
    return torch.empty_like(x)


def _operator_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, p, *ctx.options = inputs
    ctx.save_for_backward(seed, p)


def _operator_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return drop_block_operator(grad, *ctx.saved_tensors, *ctx.options), *[None] * 6


drop_block_operator.register_autograd(_operator_backward, setup_context=_operator_context)


class _DropBlock(torch.autograd.Function):
    """The operator in eager mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool, seed: Tensor, *options: Any) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(seed)
        ctx.options = options
        return _dropped(x, seed, *options, inplace=inplace)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (seed,) = ctx.saved_tensors
        grad_x = drop_blocks(grad, seed, *ctx.options, inplace=False)  # may be compiled
        return grad_x, *[None] * (len(ctx.options) + 2)


def _dropped(x: Tensor, seed: Tensor, p: float, *options: Any, inplace: bool) -> Tensor:
    """The operator, run on memory."""
    if is_watched(x) or (inplace and x.is_neg()):  # torch would write into its own copy
        dropped = drop_block_operator(x, seed, _rate(p), *options)
        return x.copy_(dropped) if inplace else dropped
    out = x if inplace else torch.empty_like(x)
    _write(x, out, seed, p, *options)
    return out


@drop_block_operator.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], x: Tensor, seed: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    """Return a mask for each mapped element, from one seed for all or one seed each."""
    xs = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
    if info.batch_size == 0:
        return torch.empty_like(xs), 0
    seeds = [seed] * info.batch_size if in_dims[1] is None else seed.unbind()
    pairs = zip(xs, seeds, strict=True)
    return torch.stack([drop_block_operator(*pair, *rest) for pair in pairs]), 0


def _write(
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    p: float,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> None:
    """Write `x` with its blocks dropped into `out`, which may be `x`."""
    if p == 0 or x.numel() == 0:
        out.copy_(x)
        return
    if p == 1:
        out.zero_()
        return
    if x.is_cuda and (triton := _triton()):
        block, intensity = _block_and_intensity(x, p, block_size, gamma)
        triton.write(x, out, seed, block, intensity, scale, p, channelwise)
        return
    blocks = _blocks(x, seed, p, block_size, gamma, channelwise)
    blocks.drop(x, SCALE[scale](x, blocks, p, len(block_size)), out)


def _block_and_intensity(
    x: Tensor, p: float, block_size: Sequence[int], gamma: str
) -> tuple[tuple[int, ...], float]:
    """The block, clipped to the feature map, and the intensity of its cells."""
    size = tuple(x.shape[-len(block_size) :])
    block = tuple(map(min, block_size, size))
    return block, INTENSITY[gamma](p, size, block)


def _blocks(
    x: Tensor, seed: Tensor, p: float, block_size: Sequence[int], gamma: str, channelwise: bool
) -> "Blocks":
    """The blocks to drop, drawn from the seed."""
    block, intensity = _block_and_intensity(x, p, block_size, gamma)
    axes = len(block)
    planes, size = x.shape[:-axes], x.shape[-axes:]
    shape = (*planes, *size) if channelwise else (*planes[:-1], 1, *size)
    mask = BlockMask(shape, (*[1] * len(planes), *block), intensity, int(seed))
    return draw_blocks(mask, x.device)


@lru_cache(maxsize=1)
def _triton() -> ModuleType | None:
    """The painter for CUDA, if Triton is installed, as it is with torch's builds for CUDA."""
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("._paint_triton", __package__)


Blocks = SparseBlocks | DenseBlocks


def _no_scale(x: Tensor, blocks: Blocks, p: float, axes: int) -> float:
    return 1.0


def _constant_scale(x: Tensor, blocks: Blocks, p: float, axes: int) -> float:
    return 1 / (1 - p)


def _batch_scale(x: Tensor, blocks: Blocks, p: float, axes: int) -> float:
    elements = math.prod(blocks.mask.shape)
    kept = elements - covered_elements(blocks, x.device)
    return elements / kept if kept else 0.0


def _position_scale(x: Tensor, blocks: Blocks, p: float, axes: int) -> Tensor:
    mask = blocks.mask
    scales = position_scale(p, mask.intensity, mask.shape[-axes:], mask.block[-axes:])
    return torch.tensor(scales, dtype=x.dtype, device=x.device)


SCALE: dict[str, Callable[[Tensor, Blocks, float, int], float | Tensor]] = {
    "constant": _constant_scale,
    "batch": _batch_scale,
    "position": _position_scale,
    "none": _no_scale,
}

_counts: dict[tuple[BlockMask, torch.device], int] = {}


def covered_elements(blocks: Blocks, device: torch.device) -> int:
    """The number of the mask's elements that lie under a block.

    The counts are remembered: the backward pass and activation checkpointing ask for the same mask.
    """
    key = (blocks.mask, device)
    count = _counts.get(key)
    if count is None:
        count = blocks.count()
        if len(_counts) >= 1024:  # a forgotten mask is counted again
            _counts.clear()
        _counts[key] = count
    return count
