"""How much memory an output keeps alive for its backward pass."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def bytes_held(y: Tensor, *given: Tensor) -> int:
    """Bytes of all tensors that the graph of `y` holds, but for `y` itself and what was `given`.

    Each piece of memory counts once and as a whole, whoever shares it. Hooks on saved tensors alone
    would miss what a Python function keeps as an attribute of its context.
    """
    own = {t.untyped_storage().data_ptr() for t in (y, *given)}
    sizes = {}
    for tensor in _tensors(y.grad_fn):
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


def _tensors(node: Any) -> Iterator[Tensor]:
    """Every tensor that the graph behind `node` holds."""
    nodes, seen = [node], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [earlier for earlier, _ in node.next_functions]
        held = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        held.append(getattr(node, "saved_tensors", ()))  # of a Python function
        held.append(list(getattr(node, "__dict__", {}).values()))
        yield from _within(held)


def _within(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _within(list(value.values()))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _within(entry)
