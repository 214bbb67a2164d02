"""The product with a sum of two small maps, which holds no large one for its gradient."""

from typing import Any

import torch
from torch import Tensor

from .._eager import has_memory


def times_sum(x: Tensor, by_channel: Tensor, by_position: Tensor) -> Tensor:
    """``x * (by_channel + by_position)``, the maps of shape (N, C, 1, ...) and (N, 1, *size)."""
    maps = (by_channel, by_position)
    if has_memory(x) and torch.is_grad_enabled() and any(t.requires_grad for t in (x, *maps)):
        product: Tensor = _TimesSum.apply(x, *maps)  # type: ignore[no-untyped-call]
        return product
    return x * (by_channel + by_position)


class _TimesSum(torch.autograd.Function):
    """Torch would keep the sum, a tensor as large as `x`; this computes it again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by_channel: Tensor, by_position: Tensor) -> Tensor:
        ctx.save_for_backward(x, by_channel, by_position)
        return x * (by_channel + by_position)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, by_channel, by_position = ctx.saved_tensors
        product = grad * x
        return (
            grad * (by_channel + by_position),
            product.sum_to_size(by_channel.shape),
            product.sum_to_size(by_position.shape),
        )
