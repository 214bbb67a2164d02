"""The sizes of feature maps in a `UNet`: strides, padding and cropping."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._dims import per_axis, several


def strides_by_level(
    owner: str, strides: Any, levels: int, spatial_dims: int
) -> tuple[tuple[int, ...], ...]:
    """The stride of each level along each axis."""
    given = tuple(strides) if several(strides) else (strides,) * levels
    if len(given) != levels:
        expected = f"{levels}, one less than widths"
        raise ValueError(f"{owner}: strides must be one number or {expected}, got {strides}")
    return tuple(per_axis(owner, "strides", stride, spatial_dims) for stride in given)


def padding(size: Sequence[int], strides: tuple[tuple[int, ...], ...]) -> list[int]:
    """Positions to add at the end of each axis, so that each level divides without remainder.

    At least two positions reach the last level. With one, you could not train batch normalisation
    on one image, and an exported program would work only for larger images: a size of one changes
    the memory layout, which export fixes.
    """
    added = []
    for n, along in zip(size, zip(*strides, strict=True), strict=True):
        step = prod(along)
        # The remainder of -n would be shorter; torch.compile fails on it if sizes are dynamic.
        added.append(0 if step == 1 else _two_or_more((n + step - 1) // step) * step - n)
    return added


def _two_or_more(n: Any) -> Any:
    if isinstance(n, Tensor):  # while torch.jit.trace records, sizes are tensors
        return n.clamp(min=2)
    if torch.compiler.is_dynamo_compiling():  # which did not know sym_max before torch 2.9
        return max(2, n)
    return torch.sym_max(2, n)  # type: ignore[no-untyped-call]


def cut(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return `x` without the last row, column and slice, along axes where `size` is one less."""
    if has_torch_function_unary(x):  # an FX proxy, whose sizes are unknown, records the call
        return handle_torch_function(cut, (x,), x, size)
    if x.shape[2:] != tuple(size):
        for axis, needed in enumerate(size):
            if x.shape[2 + axis] - needed not in (0, 1):
                got = f"got {tuple(x.shape[2:])} for {tuple(size)}"
                raise ValueError(f"UNet: up must multiply the size by the stride, {got}")
            x = x.narrow(2 + axis, 0, needed)
    return x
