"""Which modules of a network are meant."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from .._check import takes
from ._insertion import HOST, Insertion

Where = type | tuple[type, ...] | str | Callable[[str, nn.Module], bool]


class Target(NamedTuple):
    """A module of the original network.

    Attributes:
        module: The module.
        names: Its names without any layer inserted: several if it is used in several places.
        paths: Its names as it is.
        parents: The modules that it is a child of. One may be an `Insertion`.
    """

    module: nn.Module
    names: list[str]
    paths: list[str]
    parents: list[nn.Module]


def all_targets(model: nn.Module) -> dict[int, Target]:
    """All modules of a network but the inserted layers, each once, by `id`, the network first."""
    targets: dict[int, Target] = {}
    for module, name, path, parent in _walk(model, "", "", None):
        target = targets.setdefault(id(module), Target(module, [], [], []))
        target.names.append(name)
        target.paths.append(path)
        if parent is not None:
            target.parents.append(parent)
    return targets


def _walk(
    module: nn.Module, name: str, path: str, parent: nn.Module | None
) -> Iterator[tuple[nn.Module, str, str, nn.Module | None]]:
    """Each place of a module in the original network: module, name, path and parent."""
    if isinstance(module, Insertion):
        parent, module, path = module, module.host, _joined(path, HOST)
    yield module, name, path, parent
    for key, child in module._modules.items():
        if child is not None:
            yield from _walk(child, _joined(name, key), _joined(path, key), module)


def _joined(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def find(owner: str, targets: Iterable[Target], where: Where) -> list[Target]:
    """The modules that `where` picks of all; raise if it picks none."""
    model, *_ = targets = list(targets)
    picked = _picker(owner, where)
    # A pattern may say `host`, as `named_modules` does. Others mean the original network.
    by_path = isinstance(where, str) and HOST in _parts(where)
    found = [
        target
        for target in targets
        if any(
            picked(name, target.module)
            for name in (*target.names, *(target.paths if by_path else ()))
        )
    ]
    if not found:
        raise ValueError(
            f"{owner}: where must pick a module of {type(model.module).__name__}, got "
            f"{_nothing(where, targets)}"
        )
    return found


def _picker(owner: str, where: Where) -> Callable[[str, nn.Module], bool]:
    if types := _types(where):
        return lambda name, module: isinstance(module, types)
    if isinstance(where, str):
        pattern = _parts(where)
        return lambda name, module: _matches(_parts(name), pattern)
    if isinstance(where, nn.Module) or not callable(where) or not takes(where, "", nn.Identity()):
        raise TypeError(
            f"{owner}: where must be a type, a name pattern or a function of name and module, got "
            f"{where!r}"
        )
    return where


def _types(where: Where) -> tuple[type, ...]:
    """The types, if types were given."""
    given = where if isinstance(where, tuple) else (where,)
    types = tuple(one for one in given if isinstance(one, type))
    return types if len(types) == len(given) else ()


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
    if types := _types(where):
        got = asked = " or ".join(one.__name__ for one in types)
        known = [type(target.module).__name__ for target in targets]
    elif isinstance(where, str):
        got, asked = repr(where), where
        known = [name for target in targets for name in target.names if name]
    else:
        return f"a function that is false for all of its {len(targets)} modules"
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0) if known else ["none"]
    return f"{got}. The nearest names are: {', '.join(near)}"
