"""Find out what runs: eager code on memory, or something that records or transforms it."""

import torch
from torch import Tensor, nn

from .._torch import is_functional, is_transformed


def has_memory(x: Tensor) -> bool:
    """Whether eager code runs and `x` is a plain tensor with memory.

    If not, a graph is being recorded, a transform is active, or `x` is fake, meta, of a subclass or
    an FX proxy.
    """
    return not (
        type(x) not in (Tensor, nn.Parameter)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or x.is_meta
        or is_functional(x)
        or is_transformed()
    )
