"""The mark on a layer that was put into a network."""

from typing import Any, NamedTuple

from torch import nn
from torch.utils.hooks import RemovableHandle

_NAME = "_surgery_mark"  # a unique attribute name


class Mark(NamedTuple):
    """The module that a layer replaced, if any, and the hooks that the layer got.

    A tuple keeps the module from becoming a child of the layer.
    """

    replaced: nn.Module | None
    hooks: tuple[RemovableHandle, ...]


def mark(layer: nn.Module, module: nn.Module | None, *hooks: RemovableHandle) -> None:
    """Mark a layer as put into a network, in place of a module or of the module's own original.

    Args:
        layer: The layer.
        module: The module that it replaces, if any.
        hooks: Hooks that the layer loses with the mark.
    """
    original = None if module is None else replaced(module) or module
    setattr(layer, _NAME, Mark(original, hooks))


def unmark(layer: nn.Module) -> None:
    """Make a layer forget that it was put into a network."""
    if (found := _mark_of(layer)) is not None:
        for hook in found.hooks:
            hook.remove()
        delattr(layer, _NAME)


def replaced(layer: nn.Module) -> nn.Module | None:
    """The module that a layer replaced, if any."""
    found = _mark_of(layer)
    return None if found is None else found.replaced


def _mark_of(layer: nn.Module) -> Mark | None:
    found = layer.__dict__.get(_NAME)
    return found if isinstance(found, Mark) else None


def no_hook(module: Any, args: Any, output: Any) -> None:
    """Do nothing: a hook for children of a parent that skips children without hooks."""
