"""Products of feature maps with maps of the same size that follow from smaller maps.

Torch would keep the large map for the backward pass. This code keeps only `x` and the small maps.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._eager import has_memory


def times_sum(x: Tensor, *maps: Tensor) -> Tensor:
    """Return ``x`` times the sum of maps, each broadcastable to it, such as (N, C, 1, ...)."""
    if keeps(x, *maps):
        product: Tensor = _TimesSum.apply(x, *maps)  # type: ignore[no-untyped-call]
        return product
    return x * sum(maps[1:], maps[0])


def times_product(x: Tensor, *maps: Tensor) -> Tensor:
    """Return ``x`` times maps (N, C, L, 1, ...), (N, C, 1, L, ...) and so on, one per axis."""
    if keeps(x, *maps):
        product: Tensor = _TimesProduct.apply(x, *maps)  # type: ignore[no-untyped-call]
        return product
    return x * math.prod(maps[1:], start=maps[0])


def plus_times_sigmoid(x: Tensor, first: Tensor, second: Tensor, *, add: bool) -> Tensor:
    """Return ``x * (1 + sigmoid(first + second))``, or with the product of the two maps."""
    if keeps(x, first, second):
        out: Tensor = _PlusTimesSigmoid.apply(x, first, second, add)  # type: ignore[no-untyped-call]
        return out
    return x * (1 + fused(first, second, add=add).sigmoid())


def keeps(*tensors: Tensor) -> bool:
    """Whether eager code runs that keeps tensors for a backward pass."""
    if not has_memory(tensors[0]) or not torch.is_grad_enabled():
        return False
    return any(one.requires_grad for one in tensors)


def fused(first: Tensor, second: Tensor, *, add: bool) -> Tensor:
    """The sum of two maps, or their product."""
    return first + second if add else first * second


class _TimesSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(x, *maps)
        return x * sum(maps[1:], maps[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, *maps = ctx.saved_tensors
        product = grad * x
        by_map = [product.sum_to_size(one.shape) for one in maps]
        return grad * sum(maps[1:], maps[0]), *by_map


class _TimesProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(x, *maps)
        out = x * maps[0]
        for one in maps[1:]:
            out.mul_(one)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, *maps = ctx.saved_tensors
        product = grad * x
        by_map = [_contracted(product, maps, i) for i in range(len(maps))]
        return _multiplied(grad, maps), *by_map


def _multiplied(x: Tensor, maps: Sequence[Tensor]) -> Tensor:
    for one in maps:
        x = x * one
    return x


def _contracted(x: Tensor, maps: Sequence[Tensor], kept: int) -> Tensor:
    """The sum of `x` times all maps except one, over the axes of these maps."""
    for i in reversed(range(len(maps))):
        if i != kept:
            axis = 2 + i
            # A product with a vector writes no large tensor.
            x = (x.movedim(axis, -1) @ maps[i].movedim(axis, -1).mT).movedim(-1, axis)
    return x


class _PlusTimesSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor, add: bool) -> Tensor:
        ctx.save_for_backward(x, first, second)
        ctx.add = add
        return torch.addcmul(x, x, fused(first, second, add=add).sigmoid_())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, first, second = ctx.saved_tensors
        weights = fused(first, second, add=ctx.add).sigmoid()
        by_logit = torch.ops.aten.sigmoid_backward(grad * x, weights)
        of_first = by_logit if ctx.add else by_logit * second
        of_second = by_logit if ctx.add else by_logit * first
        return (
            torch.addcmul(grad, grad, weights),
            of_first.sum_to_size(first.shape),
            of_second.sum_to_size(second.shape),
            None,
        )
