"""Where the modules of a network are held."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from .._torch import WITHOUT_MODULES


def swap(model: nn.Module, by: Mapping[int, nn.Module]) -> None:
    """Put other modules in the places of modules, given by `id`.

    Places are the children of modules, and other values that modules hold, such as a list of layers
    that the network's code iterates over.
    """
    seen: set[int] = set()
    for module in list(model.modules()):
        for name, value in module.__dict__.items():
            if name not in WITHOUT_MODULES:
                module.__dict__[name] = _swapped(value, by, seen)


def _swapped(value: Any, by: Mapping[int, nn.Module], seen: set[int]) -> Any:
    """A module or its replacement; lists and dictionaries are changed in place."""
    if isinstance(value, nn.Module):
        return by.get(id(value), value)
    if isinstance(value, tuple) and type(value) is tuple:
        parts = [_swapped(part, by, seen) for part in value]
        same = all(part is before for part, before in zip(parts, value, strict=True))
        return value if same else tuple(parts)
    if isinstance(value, (list, dict)) and id(value) not in seen:
        seen.add(id(value))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in list(items):
            if (other := _swapped(part, by, seen)) is not part:
                value[key] = other
    return value
