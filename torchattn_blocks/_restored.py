"""Restore state that a block of code may change, after the block."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from ._torch import buffers


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Give each module its own mode, training or evaluation, back after the block.

    The block gets the modules.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield [module for module, _ in modes]
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Put all modules into evaluation mode in the block; the block gets the modules.

    `train` and `eval` are not called: modules that override them may, for example, merge weights.
    """
    with modes_restored(model) as modules:
        for module in modules:
            module.training = False
        yield modules


def own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Restore torch's random number state after the block, on the CPU and on this device."""
    if device.type in ("cpu", "meta"):
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device.index or 0], device_type=device.type)


class BuffersOfNow:
    """Lets modules work on the buffers (running statistics, ...) they had when it was made.

    Changes to these buffers are discarded. You can enter it again after leaving it.
    """

    def __init__(self, model: nn.Module) -> None:
        tables = [own for module in model.modules() if (own := buffers(module))]
        self.copies = [(table, _copied(table)) for table in tables]
        self.originals: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def __enter__(self) -> None:
        self.originals = [(table, dict(table)) for table, _ in self.copies]
        for table, copies in self.copies:
            table.update(_copied(copies))

    def __exit__(self, *error: object) -> None:
        for table, before in self.originals:
            table.update(before)


def _copied(table: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if x is None else x.detach().clone() for name, x in table.items()}


class Uncompiled:
    """Lets compiled code of the whole process run uncompiled until all who entered have left.

    Torch's own context manager also acts on the whole process, but restores the state that it
    found: if two of them overlap and the first leaves first, as in two threads, nothing is ever
    compiled again.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.entered = 0
        self.stance: Any = None

    def __enter__(self) -> None:
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.stance = torch.compiler.set_stance("force_eager")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.entered -= 1
            if self.entered == 0:
                self.stance.__exit__(None, None, None)


uncompiled = Uncompiled()
