"""Layers that join the call of a module.

They are children of the module, and a hook of the module calls them. The hooks are functions of
this file and find the layers by their name in the module that they get. Thus copies, pickles and
replicas of a network carry their layers with them.
"""

import inspect
from typing import Any, Literal

from torch import nn
from torch.utils.hooks import RemovableHandle

from ._mark import unmark

Side = Literal["before", "after"]

# The names of the children: a part of the keys of state dicts.
CHILD: dict[Side, str] = {"before": "inserted_before", "after": "inserted_after"}


class Inserted(nn.Sequential):
    """The layers before or after a module, in the order in which they run."""

    hook: RemovableHandle  # in a copy or pickle it is that of the copy
    argument: str  # the name of the module's first one, for layers before it


def inserted(module: nn.Module, side: Side) -> Inserted | None:
    """The layers on one side of a module, if there are any."""
    # Not by getattr: a wrapper, as of torch.compile, hands on the attributes of what it wraps.
    child = dict(module.named_children()).get(CHILD[side])
    return child if isinstance(child, Inserted) else None


def join(module: nn.Module, side: Side, layer: nn.Module) -> None:
    """Let a layer join the call of a module, behind those that have joined on this side."""
    layers = inserted(module, side)
    if layers is None:
        layers = Inserted().train(module.training)
        module.add_module(CHILD[side], layers)
        # First, so that other hooks of the module see what the layers make of its input and output.
        if side == "after":
            layers.hook = module.register_forward_hook(run_after, prepend=True)
        else:
            layers.hook = module.register_forward_pre_hook(
                run_before, prepend=True, with_kwargs=True
            )
            layers.argument = next(iter(inspect.signature(module.forward).parameters), "")
    layers.append(layer)


def leave(module: nn.Module) -> None:
    """Let all layers leave the call of a module."""
    for side, name in CHILD.items():
        if (layers := inserted(module, side)) is not None:
            layers.hook.remove()
            for layer in layers:
                unmark(layer)
            delattr(module, name)


def run_after(module: Any, args: Any, output: Any) -> Any:
    """Let the layers after a module compute its output."""
    return module.inserted_after(output)


def run_before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the layers before a module compute its first argument."""
    if args:
        return (module.inserted_before(args[0]), *args[1:]), kwargs
    first = module.inserted_before.argument
    if first not in kwargs:
        kind = type(module).__name__
        raise TypeError(f"insert_before: {kind} must be called with its first argument, {first}")
    return args, {**kwargs, first: module.inserted_before(kwargs[first])}
