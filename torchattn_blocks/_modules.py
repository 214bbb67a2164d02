"""The modules of a network: their names, and which ones `where` picks.

All code that takes a model asks here, so that the same question always gets the same answer.
"""

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn

from ._factory import takes
from ._torch import COMPILED, children

# The module's type is left open: a function may expect a certain attribute.
Where = type | str | Callable[[str, Any], object] | Sequence["Where | None"]

HOST = "host"  # part of state dict keys


class StandsForHost(nn.Module):
    """A module that replaces another, keeps it as its child `host`, and has its name."""

    host: nn.Module


class Member(NamedTuple):
    """A module of a network.

    Attributes:
        module: The module.
        names: Its names without any layer inserted, before any module was compiled: several if it
            has several places.
        paths: Its paths, as in ``model.named_modules()``, in all places where it is used.
        parents: The modules that it is a child of.
    """

    module: nn.Module
    names: list[str]
    paths: list[str]
    parents: list[nn.Module]


def members(model: nn.Module, *, inserted: bool) -> dict[int, Member]:
    """All modules of a network by `id`, each once, the network first.

    Modules that stand for another are left out. Layers inserted at a host are included if
    `inserted`.
    """
    found: dict[int, Member] = {}
    for module, name, path, parent in _walk(model, "", "", None, inserted):
        member = found.setdefault(id(module), Member(module, [], [], []))
        member.names.append(name)
        member.paths.append(path)
        if parent is not None:
            member.parents.append(parent)
    return found


def _walk(
    module: nn.Module,
    name: str,
    path: str,
    parent: nn.Module | None,
    inserted: bool,
    above: tuple[nn.Module, ...] = (),
) -> Iterator[tuple[nn.Module, str, str, nn.Module | None]]:
    """Yield each place of a module: the module, its name and path, and its parent."""
    if any(module is one for one in above):  # it contains itself, so it already has its names
        return
    other = _stands_for(module)
    if not other:
        yield module, name, path, parent
    for key, child in children(module).items():
        if child is not None and (inserted or other in ("", key)):
            own = name if key == other else _joined(name, key)
            rest = module, inserted, (*above, module)
            yield from _walk(child, own, _joined(path, key), *rest)


def _stands_for(module: nn.Module) -> str:
    """The child that a module stands for: a host, or the module in torch.compile's wrapper."""
    if isinstance(module, StandsForHost):
        return HOST
    return COMPILED if COMPILED in children(module) else ""


def _joined(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of `torch.compile` and of several processes or devices.

    Its modules have the names that they had before wrapping.
    """
    while True:
        # Only these exact types: a subclass may have its own layers.
        if type(model) in (nn.DataParallel, nn.parallel.DistributedDataParallel):
            model = model.module  # type: ignore[assignment]
        elif isinstance(compiled := getattr(model, COMPILED, None), nn.Module):
            model = compiled
        else:
            return model


def picked(
    owner: str,
    model: nn.Module,
    among: Sequence[Member],
    where: Where,
    usual: Callable[[nn.Module], bool] | None = None,
    kind: str = "module",
) -> list[Member]:
    """The modules that `where` picks; raise unless it, and each pattern in it, picks one.

    Args:
        owner: The name of the calling function, for errors.
        model: The network, for errors.
        among: The modules to pick from: all that `owner` can work on.
        where: See `insert_after`.
        usual: The meaning of None in a sequence: the rule of `owner`. None: it has no rule.
        kind: The kind of modules in `among`, for errors.

    Raises:
        TypeError: If `where` is of another kind.
        ValueError: If it picks nothing.
    """
    try:
        wanted = [(one, _picker(owner, one, where, usual)) for one in _flat(where)]
    except RecursionError:  # a list that contains itself
        raise _wrong(owner, where, usual) from None
    found: dict[int, Member] = {}
    for one, picks in wanted:
        by_it = {id(m.module): m for m in among if any(picks(n, m) for n in _names(m, one))}
        if not by_it and isinstance(one, str):
            raise _nothing(owner, model, among, [one], kind)
        found |= by_it
    if not found:
        raise _nothing(owner, model, among, [one for one, _ in wanted], kind)
    return [member for member in among if id(member.module) in found]


def _flat(where: Any) -> Iterator[Any]:
    """The parts of a sequence and of sequences inside it. An empty one is a part itself."""
    if isinstance(where, Sequence) and not isinstance(where, str) and len(where):
        for one in where:
            yield from _flat(one)
    else:
        yield where


def _names(member: Member, where: object) -> list[str]:
    """The names of a module to match: a pattern may contain `host`, as ``named_modules`` does."""
    by_path = isinstance(where, str) and not {HOST, COMPILED}.isdisjoint(_parts(where))
    return member.names + member.paths if by_path else member.names


def _picker(
    owner: str, one: Any, where: Where, usual: Callable[[nn.Module], bool] | None
) -> Callable[[str, Member], bool]:
    if isinstance(one, str):
        pattern = _parts(one)
        return lambda name, member: _matches(_parts(name), pattern)
    if one is None and usual is not None:
        return lambda name, member: usual(member.module)
    if isinstance(one, type) and _has_instances(one):
        return lambda name, member: isinstance(member.module, one)
    if not _is_function(one):
        raise _wrong(owner, where, usual)

    def is_true(name: str, member: Member) -> bool:
        try:
            return bool(one(name, member.module))
        except Exception as error:
            error.add_note(f"{owner}: raised by the function in where, called with {name!r}")
            raise

    return is_true


def _has_instances(kind: type) -> bool:
    """Whether `isinstance` works with a type: with some in `typing` it does not."""
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return True


def _is_function(one: Any) -> bool:
    """Whether `one` is a function of name and module that returns true or false."""
    of_typing = isinstance(one, type) or type(one).__module__ in ("types", "typing")
    late = inspect.iscoroutinefunction(one) or inspect.isgeneratorfunction(one)
    if isinstance(one, nn.Module) or of_typing or late or not callable(one):
        return False
    return takes(one, "", nn.Identity())


def _wrong(owner: str, where: Where, usual: object) -> TypeError:
    rule = "" if usual is None else " and None (the layers without where)"
    return TypeError(
        f"{owner}: where must be a type, a name pattern, a function of name and module, or a "
        f"sequence of these{rule}, got {where!r}"
    )


def _parts(name: str) -> list[str]:
    return name.split(".") if name else []


def _matches(name: list[str], pattern: list[str]) -> bool:
    """Whether the parts of a name match a pattern's parts; ``**`` is any number of parts."""
    if not pattern:
        return not name
    head, *rest = pattern
    if head == "**":
        return any(_matches(name[skipped:], rest) for skipped in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], head) and _matches(name[1:], rest)


def _name_of(kind: type, known: list[str]) -> str:
    """The name of a type, with its module if a module of the network has the same name."""
    return f"{kind.__module__}.{kind.__name__}" if kind.__name__ in known else kind.__name__


def _nothing(
    owner: str, model: nn.Module, among: Sequence[Member], asked: list[Any], kind: str
) -> ValueError:
    """The error for a `where` that picks nothing, with the nearest existing names."""
    types = [type(member.module).__name__ for member in among]
    names = [name for member in among for name in member.names if name]
    got, near = [], []
    for one in asked:
        if isinstance(one, (str, type)):
            text, known = (one, names) if isinstance(one, str) else (one.__name__, types)
            got.append(repr(one) if isinstance(one, str) else _name_of(one, types))
            near += difflib.get_close_matches(text, list(dict.fromkeys(known)), n=3, cutoff=0)
        elif one is not None:
            got.append(f"a function that is false for all of its {len(among)} {kind}s")
    hint = f". The nearest names are: {', '.join(dict.fromkeys(near))}" if near else ""
    article = "an" if kind.startswith("a") else "a"
    return ValueError(
        f"{owner}: where must pick {article} {kind} of {type(model).__name__}, got "
        f"{' or '.join(got) or 'None'}{hint}"
    )
