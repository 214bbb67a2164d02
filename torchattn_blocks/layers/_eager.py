"""What kind of code runs: eager code on memory, or something that records or transforms it."""

import torch
from torch import Tensor, nn


def has_memory(x: Tensor) -> bool:
    """Whether eager code runs, and `x` is a plain tensor with memory.

    If not, a graph is recorded, a transform is at work, or `x` is fake, meta, of a subclass or an
    FX proxy.
    """
    return not (
        type(x) not in (Tensor, nn.Parameter)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or x.is_meta
        or torch._is_functional_tensor(x)
        or is_transformed()
    )


def is_transformed() -> bool:
    """Whether a transform of `torch.func` or the forward mode is at work."""
    transforms = torch._C._are_functorch_transforms_active()
    return transforms or torch.autograd.forward_ad._current_level >= 0
