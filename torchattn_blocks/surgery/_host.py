"""Which module holds a layer that runs before or after a picked one."""

import torch
from torch import nn

from ._inserted import Side
from ._where import Target


def host(owner: str, targets: list[Target], target: Target, side: Side) -> nn.Module:
    """The module whose call a layer at `target` joins: itself, or the last or first one in it.

    Args:
        owner: Who asks, for errors.
        targets: All modules of the network.
        target: The one that was picked.
        side: Where the layer runs.
    """
    names, module = target
    while _runs_in_order(module) and module._modules:
        # It would run a further child as well: the layer goes to its last or first one.
        child = list(module._modules)[-1 if side == "after" else 0]
        names, module = [f"{name}.{child}".lstrip(".") for name in names], getattr(module, child)
    used = next(other.names for other in targets if other.module is module)
    kind, name, elsewhere = type(module).__name__, names[0], sorted(set(used) - set(names))
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        rest = "pick modules in it" if module._modules else "it is empty"
        problem = f"a layer cannot join the call of {name}, which is a {kind}: {rest}"
    elif isinstance(module, torch.jit.ScriptModule):
        problem = f"{name} is a script module, which takes no further child"
    elif elsewhere:
        problem = f"{name}, the last in it, is also used as {elsewhere[0]}"
    else:
        check_called(owner, targets, Target(names, module))
        return module
    raise ValueError(f"{owner}: where picks {_shown(target)}, but {problem}")


def check_called(owner: str, targets: list[Target], target: Target) -> None:
    """Raise if the parent of a module is known to read its parameters and not to call it."""
    known = {name: other.module for other in targets for name in other.names}
    for name in target.names:
        parent = known[name.rpartition(".")[0]] if name else None
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"{owner}: where picks {name}, but {type(parent).__name__} reads its parameters "
                "and never calls it: exclude it by a function as where"
            )


def _shown(target: Target) -> str:
    return target.names[0] or "the model itself"


def _runs_in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
