"""Maximum and mean in one differentiable step, which eager code computes faster than in two."""

from typing import Any

import torch
from torch import Tensor

from .._eager import has_memory


def max_and_mean(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Maximum and mean of `x` over `dims`, ascending, which the results no longer have.

    Positions that share the maximum share its gradient, as with `torch.amax`.
    """
    if has_memory(x) and x.requires_grad and torch.is_grad_enabled():
        largest, mean = _MaxAndMean.apply(x, dims)  # type: ignore[no-untyped-call]
        return largest, mean
    return x.amax(dims), x.mean(dims)


class _MaxAndMean(torch.autograd.Function):
    """Torch's own gradients of the two fill four tensors as large as `x`; this one fills one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        largest = x.amax(dims)
        ctx.save_for_backward(x, largest)
        ctx.dims = dims
        return largest, x.mean(dims)

    @staticmethod
    def backward(ctx: Any, grad_max: Tensor, grad_mean: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        for dim in ctx.dims:
            largest, grad_max, grad_mean = (
                t.unsqueeze(dim) for t in (largest, grad_max, grad_mean)
            )
        among = x.numel() // max(1, largest.numel())
        grad_mean = grad_mean / among
        is_max = x == largest
        # A byte holds the count of up to 255: several times faster to sum than the default.
        counter = torch.uint8 if among <= 255 else torch.int32
        ties = is_max.sum(ctx.dims, keepdim=True, dtype=counter)
        return torch.where(is_max, grad_max / ties + grad_mean, grad_mean), None
