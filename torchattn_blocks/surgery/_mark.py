"""What a layer that was put into a network remembers."""

from typing import Any, NamedTuple

from torch import nn
from torch.utils.hooks import RemovableHandle

_NAME = "_surgery_mark"  # the name of the attribute; nobody else's


class Mark(NamedTuple):
    """The module in whose place a layer is, if it is in any, and the hooks that it got.

    In a tuple the module is no child of the layer.
    """

    replaced: nn.Module | None
    hooks: tuple[RemovableHandle, ...]


def mark(layer: nn.Module, module: nn.Module | None, *hooks: RemovableHandle) -> None:
    """Mark a layer as put into a network, in the place of a module or of what that replaced.

    Args:
        layer: The layer.
        module: What it replaces, if it replaces anything.
        hooks: Those of the layer that it is to lose with the mark.
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
    """The module in whose place a layer is, if it is in any."""
    found = _mark_of(layer)
    return None if found is None else found.replaced


def _mark_of(layer: nn.Module) -> Mark | None:
    found = layer.__dict__.get(_NAME)
    return found if isinstance(found, Mark) else None


def no_hook(module: Any, args: Any, output: Any) -> None:
    """Do nothing: a hook for children of a parent that skips children without hooks."""
