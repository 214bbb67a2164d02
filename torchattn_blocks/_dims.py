"""torch's modules by the number of spatial dimensions, and sizes with a number for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from ._check import check_ints, check_odd, plain

CONVOLUTION: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # modes of interpolation

Size = int | Sequence[int]


def several(value: Any) -> bool:
    """Whether `value` is an ordered sequence of numbers."""
    return isinstance(value, (tuple, list, range, np.ndarray))


def per_axis(owner: str, name: str, size: Any, axes: int) -> tuple[int, ...]:
    """A size as a tuple with an int per axis. Raise unless it has one number or one per axis."""
    if not several(size):
        check_ints(owner, 1, **{name: size})
        return (plain(size),) * axes
    if len(size) != axes:
        kind = "one number" if axes == 1 else f"one number or {axes}"
        raise ValueError(f"{owner}: {name} must be {kind}, got {size}")
    check_size(owner, name, size)
    return tuple(map(plain, size))


def check_size(owner: str, name: str, size: Any, *, odd: bool = False) -> None:
    """Raise unless it is one or several ints of 1 or more, and odd with `odd`."""
    for number in size if several(size) else (size,):
        check_ints(owner, 1, **{name: number})
        if odd:
            check_odd(owner, **{name: number})


def shortest(numbers: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number if all are equal, as usual for torch's modules."""
    return numbers[0] if len(set(numbers)) == 1 else numbers
