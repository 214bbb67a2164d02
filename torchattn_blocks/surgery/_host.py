"""Which module holds a layer that runs before or after a picked one."""

import torch
from torch import nn

from ._inserted import Side
from ._where import Target, place


def host(
    owner: str, model: nn.Module, targets: dict[int, Target], target: Target, side: Side
) -> nn.Module:
    """The module whose call a layer at `target` joins: itself, or the last or first one in it.

    Args:
        owner: Who asks, for errors.
        model: The network.
        targets: All its modules.
        target: The one that was picked.
        side: Where the layer runs.
    """
    names, module = target
    while child := _end(module, side):
        names, module = [f"{name}.{child}".lstrip(".") for name in names], getattr(module, child)
    elsewhere = sorted(set(targets[id(module)].names) - set(names))
    kind, name = type(module).__name__, _shown(names)
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        rest = "pick modules in it" if module._modules else "it is empty"
        problem = f"a layer cannot join the call of {name}, which is a {kind}: {rest}"
    elif isinstance(module, torch.jit.ScriptModule):
        problem = f"{name} is a script module, which takes no further child"
    elif elsewhere:
        end = "last" if side == "after" else "first"
        problem = f"{name}, the {end} in it, is also used as {elsewhere[0]}"
    else:
        check_called(owner, model, names)
        return module
    raise ValueError(f"{owner}: where picks {_shown(target.names)}, but {problem}")


def check_called(owner: str, model: nn.Module, names: list[str]) -> None:
    """Raise if a parent of the module of these names reads its parameters and never calls it."""
    for name in filter(None, names):  # the network itself has no parent
        parent, _ = place(model, name)
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"{owner}: where picks {name}, but {type(parent).__name__} reads its parameters "
                "and never calls it: exclude it by a function as where"
            )


def _shown(names: list[str]) -> str:
    return names[0] or "the model itself"


def _end(module: nn.Module, side: Side) -> str:
    """The child that holds a layer for a container, by name; empty if the module itself does."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        children = list(module._modules)  # it would run a further child as well
        return "" if not children else children[-1] if side == "after" else children[0]
    # The wrapper of activation checkpointing leaves its name out of keys.
    wrapped = "_checkpoint_wrapped_module"
    return wrapped if hasattr(module, wrapped) else ""
