"""Argument validation. Every message names the owner, the argument, its bounds and its value.

The owner, the layer or function that was called, comes first in each check.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Init = TypeVar("Init", bound=Callable[..., None])


def options_by_name(init: Init) -> Init:
    """Let a constructor that gets wrong arguments name the called class and its options.

    Python itself would name the class that defines the constructor.
    """
    signature = inspect.signature(init)
    parameters = list(signature.parameters.values())[1:]  # without self
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    positional = len(parameters) - len(options)

    @functools.wraps(init)
    def checked(self: object, *args: Any, **kwargs: Any) -> None:
        owner = type(self).__name__
        if len(args) > positional:
            named = zip(options, args[positional:], strict=False)
            write = ", ".join(f"{name}={value!r}" for name, value in named)
            raise TypeError(f"{owner}: options must be given by name: write {write}")
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{owner}: {error}") from None
        init(self, *args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def check_map(
    owner: str, x: object, channels: int | None = None, spatial_dims: int = 2, name: str = "x"
) -> None:
    """Raise unless `x` is a floating-point tensor (N, C, *size), with C = `channels` if given.

    An FX proxy passes: it has no shape while a graph is recorded.
    """
    if hasattr(x, "__torch_function__") and not isinstance(x, Tensor):
        return
    x = check_floating(owner, x, name)
    if x.dim() != spatial_dims + 2:
        expected = f"{spatial_dims + 2} dimensions (N, C, {_size(spatial_dims)})"
        raise ValueError(f"{owner}: {name} must have {expected}, got {tuple(x.shape)}")
    if channels is not None and x.shape[1] != channels:
        got = f"got shape {tuple(x.shape)}"
        raise ValueError(f"{owner}: {name} must have {channels} channels, {got}")


def check_features(owner: str, x: object, axes: int) -> None:
    """Raise unless `x` is a floating-point tensor (N, C, *size) or (C, *size) with `axes` sizes."""
    x = check_floating(owner, x)
    if x.dim() not in (axes + 1, axes + 2):
        size = _size(axes)
        expected = f"{axes + 2} dimensions (N, C, {size}) or {axes + 1} (C, {size})"
        raise ValueError(f"{owner}: x must have {expected}, got {tuple(x.shape)}")


def _size(axes: int) -> str:
    return ", ".join("DHW"[-axes:] if axes > 1 else "L")


def check_floating(owner: str, x: object, name: str = "x") -> Tensor:
    """Return the tensor; raise unless it is a floating-point one."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{owner}: {name} must be a floating-point tensor, got {kind}")
    return x


def check_ints(owner: str, least: int, most: int | None = None, /, **numbers: Any) -> None:
    """Raise unless each number is from `least` to `most`, and an int, a NumPy or a symbolic int."""
    for name, number in numbers.items():
        if not (_is_int(number) or isinstance(number, torch.SymInt)):
            raise TypeError(f"{owner}: {name} must be an int, got {number!r}")
        if number < least:
            raise ValueError(f"{owner}: {name} must be at least {least}, got {number}")
        if most is not None and number > most:
            raise ValueError(f"{owner}: {name} must be at most {most}, got {number}")


def check_numbers(
    owner: str, low: float, high: float = math.inf, /, ends: str = "[]", **numbers: Any
) -> None:
    """Raise unless each number is finite, from `low` to `high`, and Python's or NumPy's.

    A bracket in `ends` includes a bound, a parenthesis excludes it.
    """
    for name, number in numbers.items():
        if not is_number(number):
            raise TypeError(f"{owner}: {name} must be a number, got {number!r}")
        above = number > low if ends[0] == "(" else number >= low
        below = number < high if ends[1] == ")" else number <= high
        if not (above and below and math.isfinite(number)):  # false for NaN too
            raise ValueError(f"{owner}: {name} must {_bounds(low, high, ends)}, got {number}")


def _bounds(low: float, high: float, ends: str) -> str:
    if high < math.inf:
        return f"lie in {ends[0]}{low:g}, {high:g}{ends[1]}"
    return f"be {'above' if ends[0] == '(' else 'at least'} {low:g} and finite"


def check_spatial_dims(owner: str, spatial_dims: int) -> None:
    """Raise unless `spatial_dims` is 1, 2 or 3: torch's convolutions have no more."""
    check_ints(owner, 1, 3, spatial_dims=spatial_dims)


def check_odd(owner: str, **numbers: int) -> None:
    """Raise unless each number is an odd int, at least 1."""
    check_ints(owner, 1, **numbers)
    for name, number in numbers.items():
        if number % 2 == 0:
            raise ValueError(f"{owner}: {name} must be odd, got {number}")


def check_choice(owner: str, choices: Iterable[str], **values: str) -> None:
    """Raise unless each value is one of `choices`."""
    for name, value in values.items():
        if not isinstance(value, str) or value not in tuple(choices):
            raise ValueError(f"{owner}: {name} must be one of {tuple(choices)}, got {value!r}")


def check_kind(owner: str, *kinds: Any, **values: object) -> None:
    """Raise unless each value is an instance of one of `kinds`. The kind None accepts None."""
    types = tuple(type(None) if kind is None else kind for kind in kinds)
    for name, value in values.items():
        if not isinstance(value, types):
            got = type(value).__name__
            raise TypeError(f"{owner}: {name} must be {' or '.join(map(_a, kinds))}, got {got}")


def _a(kind: Any) -> str:
    """A type with its article."""
    name = "None" if kind is None else kind.__name__
    return name if kind is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def is_number(value: object) -> bool:
    """Whether `value` is an int or a float, of Python or NumPy."""
    return isinstance(value, (float, np.floating)) or _is_int(value)


def _is_int(value: object) -> bool:
    # A bool is an int in Python, and a time span is an int in NumPy.
    if type(value) is int:  # fast path: checks run at every call of a layer
        return True
    known = isinstance(value, (int, np.integer))
    return known and not isinstance(value, (bool, np.timedelta64))


def plain(number: Any) -> Any:
    """A NumPy number or bool as Python's, for graphs and files. Other values stay as they are."""
    if type(number) is int:
        return number
    if isinstance(number, np.floating):
        return float(number)
    is_known = isinstance(number, np.bool_) or (isinstance(number, np.integer) and _is_int(number))
    return number.item() if is_known else number


def make_plain(record: Any) -> None:
    """Make NumPy numbers in a new frozen dataclass plain. A list becomes a tuple."""
    for name, value in vars(record).items():
        made = _plain_within(value)
        object.__setattr__(record, name, tuple(made) if isinstance(made, list) else made)


def _plain_within(value: Any) -> Any:
    """The same for all values in a list, a tuple, a dictionary or an array of numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain_within(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain_within, value))
    return plain(value)


def check_rate(owner: str, p: Any, name: str = "p") -> float:
    """A drop probability as a float; errors call it `name`."""
    if isinstance(p, Tensor):
        check_rate_tensor(owner, p, name)
        p = float(p)
    if not is_number(p):
        kind = "a number or a 0-d floating-point tensor"
        raise TypeError(f"{owner}: {name} must be {kind}, got {p!r}")
    if not 0 <= p <= 1:  # false for NaN too
        raise ValueError(f"{owner}: {name} must lie in [0, 1], got {p}")
    return float(p)


def check_rate_tensor(owner: str, p: Tensor, name: str = "p") -> None:
    """Raise unless `p` is a 0-d floating-point tensor without gradient. Its value is not read."""
    if p.dim() != 0 or not p.is_floating_point():
        kind = f"shape {tuple(p.shape)} and dtype {p.dtype}"
        raise TypeError(
            f"{owner}: {name} must be a number or a 0-d floating-point tensor, got {kind}"
        )
    if p.requires_grad:
        raise ValueError(f"{owner}: {name} must not require a gradient: none is computed for it")
