"""Means and maxima; eager code writes their gradients as rarely as it can.

These layers spend most of their time on writing tensors as large as the feature maps.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .._eager import has_memory


def mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean of `x` over `dims`, which are removed."""
    if has_memory(x) and x.dtype in (torch.float32, torch.float64):  # in float16 a sum overflows
        # A mean's gradient is written element by element, a sum's gradient is an expanded view.
        return x.sum(dims) / math.prod(x.shape[dim] for dim in dims)
    return x.mean(dims)


def max_and_mean(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Maximum and mean of `x` over `dims`, which become 1.

    Positions that share the maximum share its gradient, as with `torch.amax`.
    """
    if has_memory(x) and x.requires_grad and torch.is_grad_enabled():
        both: tuple[Tensor, Tensor] = _MaxAndMean.apply(x, dims)  # type: ignore[no-untyped-call]
        return both
    return x.amax(dims, keepdim=True), x.mean(dims, keepdim=True)


class _MaxAndMean(torch.autograd.Function):
    """Both in one step: their gradient is one tensor as large as `x`, not several."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        largest = x.amax(dims, keepdim=True)
        ctx.save_for_backward(x, largest)
        ctx.dims = dims
        return largest, x.mean(dims, keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad_max: Tensor, grad_mean: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        among = x.numel() // max(1, largest.numel())
        grad_mean = grad_mean / among
        is_max = x == largest
        ties = _count(is_max, ctx.dims)
        return torch.where(is_max, grad_max / ties + grad_mean, grad_mean), None


def _count(found: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The number of true elements over `dims`, which become 1."""
    # Bytes are summed faster than wider integers, and hold up to 255.
    last = dims[-1]
    parts = [
        part.sum(last, keepdim=True, dtype=torch.uint8) for part in torch.split(found, 255, last)
    ]
    return torch.cat(parts, last).sum(dims, keepdim=True, dtype=torch.int32)
