"""Find the module that holds a layer which runs before or after a picked module."""

from typing import Any

import torch
from torch import nn

from .._modules import HOST, Member
from .._torch import CHECKPOINTED, children
from ._insertion import CHILD, Inserted, Insertion, Side, attributes


def host(owner: str, targets: dict[int, Member], target: Member, side: Side) -> Member:
    """The module whose call a layer at `target` joins: the target, or the last or first one in it.

    Args:
        owner: The name of the calling function, for errors.
        targets: All modules of the network.
        target: The picked module.
        side: Where the layer runs.
    """
    module, names = target.module, target.names
    while child := _end(module, side):
        names = [f"{name}.{child}".lstrip(".") for name in names]
        inner = children(module)[child]
        module = inner.host if isinstance(inner, Insertion) else inner  # type: ignore[assignment]
    found = targets[id(module)]
    elsewhere = sorted(set(found.names) - set(names))
    kind, name = type(module).__name__, names[0] or "the model itself"
    if isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        rest = "pick modules in it" if children(module) else "it is empty"
        problem = f"a layer cannot join the call of {name}, which is a {kind}: {rest}"
    elif elsewhere:
        end = "last" if side == "after" else "first"
        problem = f"{name}, the {end} in it, is also used as {elsewhere[0]}"
    elif taken := attributes(module) & {HOST, *CHILD.values()}:
        problem = f"{name} has an attribute {min(taken)}, a name that the layer needs here"
    else:
        check_called(owner, target, found)
        return found
    raise ValueError(f"{owner}: where picks {_shown(target)}, but {problem}")


def check_called(owner: str, target: Member, found: Member) -> None:
    """Raise if a parent of `found`, the host for a target, never calls a module in its place."""
    for parent in found.parents:
        if isinstance(parent, nn.MultiheadAttention):
            does = "reads its parameters"
        elif isinstance(parent, torch.jit.ScriptModule):
            does = "is compiled"
        else:
            continue
        raise ValueError(
            f"{owner}: where picks {_shown(target)}, but {type(parent).__name__} {does} and never "
            "calls it: exclude it by a function as where"
        )


def check_not_wrapped(
    owner: str, target: Member, found: Member, model: nn.Module, side: Side
) -> None:
    """Raise if a tool has wrapped `found`, the host for a target, or the layers inserted at it.

    When PEFT merges the weights of its layer, it keeps only the wrapped module.
    """
    for parent in found.parents:
        layers = children(parent).get(CHILD[side]) if isinstance(parent, Insertion) else None
        if not isinstance(layers, (Inserted, type(None))):
            raise ValueError(
                f"{owner}: where picks {_shown(target)}, but the layers at it are wrapped by "
                f"{type(layers).__name__}: call {owner} first"
            )
    for path in found.paths:
        around: list[Any] = [model]
        for part in path.split(".") if path else ():
            around.append(children(around[-1])[part])
        for module in around:
            if any(kind.__name__ == "BaseTunerLayer" for kind in type(module).__mro__):
                raise ValueError(
                    f"{owner}: where picks {_shown(target)}, but {type(module).__name__} of PEFT "
                    f"would lose the layer when it merges its weights: call {owner} first, then "
                    'PEFT, with target modules such as "conv1.host"'
                )


def _shown(target: Member) -> str:
    return target.names[0] or "the model itself"


def _end(module: nn.Module, side: Side) -> str:
    """The name of the child that holds a container's layer; empty if the module itself does."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        # Code may run over the children of a Sequential and never call itself.
        names = list(children(module))
        return "" if not names else names[-1] if side == "after" else names[0]
    # The wrapper of activation checkpointing omits its name from keys.
    return CHECKPOINTED if CHECKPOINTED in children(module) else ""
