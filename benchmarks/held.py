"""How much memory an output keeps alive for its backward pass, and how much a call takes."""

import functools
import os
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler says when it starts and stops
_FOLLOWED = ("torchattn_blocks", "torch.utils.checkpoint")  # whose objects may keep tensors


def bytes_held(y: Tensor, *given: Tensor) -> int:
    """Bytes of all tensors that the graph of `y` holds, but for `y` itself and what was `given`.

    Each piece of memory counts once and as a whole, whoever shares it. Hooks on saved tensors alone
    would miss what a Python function keeps as an attribute of its context, and what such hooks keep
    themselves.
    """
    own = {t.untyped_storage().data_ptr() for t in (y, *given)}
    sizes = {}
    for tensor, _ in tensors_held(y):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def bytes_saved(drop: Any, x: Tensor) -> int:
    """Bytes that torch reports to hooks on saved tensors during ``drop(x)``, but for `x` itself."""
    own = x.untyped_storage().data_ptr()
    sizes = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = drop(x)  # kept until the sizes are read, so that no address is used twice
    sizes.pop(y.untyped_storage().data_ptr(), None)
    return sum(sizes.values())


def allocated(call: Callable[[], Any]) -> tuple[int, int, Any]:
    """The bytes of the allocator that a call leaves, the most that live in it, and its result."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        out = call()
    live = most = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return live, most, out


def tensors_held(y: Tensor) -> Iterator[tuple[Tensor, str]]:
    """Every tensor that the graph of `y` holds, and the name of the node that does."""
    nodes, seen, objects = [y.grad_fn], set(), set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [earlier for earlier, _ in node.next_functions]
        held = [getattr(node, name) for name in dir(node) if name.startswith("_raw_saved_")]
        held.append(list(getattr(node, "__dict__", {}).values()))  # of a Python function
        for tensor in _within(held, objects):
            yield tensor, node.name()


def _within(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in a value: in containers, in what hooks made of saved tensors, in closures."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, torch._C._autograd.SavedTensor):
        hook = value.unpack_hook
        yield from _within([value.data, hook], seen)
    elif isinstance(value, dict):
        yield from _within(list(value.values()), seen)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _within(entry, seen)
    elif id(value) not in seen:
        seen.add(id(value))
        yield from _within(_parts(value), seen)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _parts(value: Any) -> list[Any]:
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, types.FunctionType):
        return [_content(cell) for cell in value.__closure__ or ()]
    kind = type(value)
    if kind.__module__.startswith(_FOLLOWED) and not isinstance(value, torch.nn.Module):
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
        names = [*slots, *getattr(value, "__dict__", {})]
        return [getattr(value, name) for name in names if name != "__weakref__"]
    return []
