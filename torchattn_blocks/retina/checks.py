"""Checks of arguments. Every message names the owner, the argument, its bounds and its value.

The layers have checks of their own, which are private to them.
"""

import math
from typing import Any


def check_counts(owner: str, least: int, most: int | None = None, **values: Any) -> None:
    """Raise unless each value is an int from `least` to `most`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{owner}: {name} must be an int, got {value!r}")
        if value < least:
            raise ValueError(f"{owner}: {name} must be at least {least}, got {value}")
        if most is not None and value > most:
            raise ValueError(f"{owner}: {name} must be at most {most}, got {value}")


def check_numbers(
    owner: str, low: float, high: float = math.inf, *, ends: str = "[]", **values: Any
) -> None:
    """Raise unless each value is a finite number from `low` to `high`.

    A bracket in `ends` includes a bound, a parenthesis excludes it.
    """
    for name, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
        above = value > low if ends[0] == "(" else value >= low
        below = value < high if ends[1] == ")" else value <= high
        if not (above and below and math.isfinite(value)):  # false for NaN too
            raise ValueError(f"{owner}: {name} must {_bounds(low, high, ends)}, got {value}")


def check_type(owner: str, kind: type | tuple[type, ...], **values: Any) -> None:
    """Raise unless each value is of one of these types."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = " or ".join("None" if one is type(None) else one.__name__ for one in kinds)
    for name, value in values.items():
        if not isinstance(value, kinds):
            raise TypeError(f"{owner}: {name} must be {names}, got {type(value).__name__}")


def _bounds(low: float, high: float, ends: str) -> str:
    if high < math.inf:
        return f"lie in {ends[0]}{low:g}, {high:g}{ends[1]}"
    return f"be {'above' if ends[0] == '(' else 'at least'} {low:g} and finite"
