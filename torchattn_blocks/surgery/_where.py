"""Which modules of a network are meant, and which of them can hold a layer."""

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Where = type | str | Callable[[str, nn.Module], bool]


class Inserted(nn.Sequential):
    """The layers inserted before or after a module, in the order in which they run."""

    hook: RemovableHandle  # of the module, by which it calls these layers


class Target(NamedTuple):
    """A module, and its names: several if it is used in several places."""

    names: list[str]
    module: nn.Module


def all_targets(model: nn.Module) -> list[Target]:
    """All modules of a network but the inserted layers, each once."""
    targets: dict[int, Target] = {}
    inserted: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Inserted):
            inserted.append(f"{name}.")
        elif not name.startswith(tuple(inserted)):
            targets.setdefault(id(module), Target([], module)).names.append(name)
    return list(targets.values())


def find(owner: str, model: nn.Module, where: Where) -> list[Target]:
    """The modules that `where` picks; raise if it picks none."""
    targets = all_targets(model)
    picked = _picker(owner, where)
    found = [
        target for target in targets if any(picked(name, target.module) for name in target.names)
    ]
    if not found:
        raise ValueError(
            f"{owner}: where must pick a module of {type(model).__name__}, got "
            f"{_nothing(where, targets)}"
        )
    return found


def _picker(owner: str, where: Where) -> Callable[[str, nn.Module], bool]:
    if isinstance(where, type):
        return lambda name, module: isinstance(module, where)
    if isinstance(where, str):
        pattern = _parts(where)
        return lambda name, module: _matches(_parts(name), pattern)
    if isinstance(where, nn.Module) or not callable(where):
        raise TypeError(
            f"{owner}: where must be a type, a name pattern or a function of name and module, got "
            f"{type(where).__name__}"
        )
    return where


def _parts(name: str) -> list[str]:
    return name.split(".") if name else []


def _matches(name: list[str], pattern: list[str]) -> bool:
    """Whether the parts of a name match those of a pattern, in which ``**`` is any number."""
    if not pattern:
        return not name
    head, *rest = pattern
    if head == "**":
        return any(_matches(name[skipped:], rest) for skipped in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], head) and _matches(name[1:], rest)


def _nothing(where: Where, targets: list[Target]) -> str:
    """What picked nothing, and the nearest names that are there."""
    if isinstance(where, type):
        got = asked = where.__name__
        known = [type(target.module).__name__ for target in targets]
    elif isinstance(where, str):
        got, asked = repr(where), where
        known = [name for target in targets for name in target.names if name]
    else:
        return f"a function that is false for all of its {len(targets)} modules"
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0) if known else ["none"]
    return f"{got}. The nearest names are: {', '.join(near)}"


def host(owner: str, targets: list[Target], target: Target, *, end: int) -> nn.Module:
    """The module whose call a layer at `target` joins: itself, or the last or first one in it.

    Args:
        owner: Who asks, for errors.
        targets: All modules of the network.
        target: The one that was picked.
        end: Which child of a container that runs one after another: -1 the last one, 0 the first.
    """
    names, module = target
    while _runs_in_order(module) and module._modules:
        # It would run a further child as well: the layer goes to its last or first one.
        child = list(module._modules)[end]
        names, module = [f"{name}.{child}".lstrip(".") for name in names], getattr(module, child)
    if problem := _problem(targets, names, module):
        place = "the model itself" if target.names[0] == "" else target.names[0]
        raise ValueError(f"{owner}: where picks {place}, but {problem}")
    return module


def _runs_in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _problem(targets: list[Target], names: list[str], module: nn.Module) -> str | None:
    """Why a layer at a module would not run, or would run elsewhere too."""
    kind, name = type(module).__name__, names[0]
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        rest = "pick modules in it" if module._modules else "it is empty"
        return f"a layer cannot join the call of {name}, which is a {kind}: {rest}"
    if isinstance(module, torch.jit.ScriptModule):
        return f"{name} is a script module, which takes no further child"
    known = {name: target for target in targets for name in target.names}
    parent = known[name.rpartition(".")[0]].module if name else module
    if isinstance(parent, nn.MultiheadAttention):
        return f"{type(parent).__name__} reads the parameters of {name} and never calls it"
    used = next(target.names for target in targets if target.module is module)
    if more := sorted(set(used) - set(names)):
        return f"{name}, the module in it that would hold the layer, is also used as {more[0]}"
    return None
