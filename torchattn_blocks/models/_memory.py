"""What a `UNet` keeps for the backward pass: everything, less, or next to nothing."""

from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from .._restored import BuffersOfNow
from ..layers._recipes import ACTIVATIONS, ALL
from ..layers._recompute import can_recompute, recomputation

MemoryEfficient = bool | Literal["activations", "stages"]


def check_memory_efficient(owner: str, memory_efficient: MemoryEfficient) -> None:
    """Raise unless it is a setting of `UNet`."""
    settings = (False, True, "activations", "stages")
    if not isinstance(memory_efficient, (bool, str)) or memory_efficient not in settings:
        raise ValueError(
            f"{owner}: memory_efficient must be one of {settings}, got {memory_efficient!r}"
        )


def keeps(memory_efficient: MemoryEfficient, x: Tensor) -> AbstractContextManager[Any]:
    """The context for calling a network with images `x`."""
    rules = {True: ALL, "activations": ACTIVATIONS}.get(memory_efficient)
    return recomputation(rules, x)


def run_stage(stage: nn.Module, x: Tensor, memory_efficient: MemoryEfficient) -> Tensor:
    """The output of a stage for `x`; with ``"stages"`` it runs again in the backward pass."""
    if memory_efficient == "stages" and can_recompute(x):
        # Running statistics count only the first run, and the second run starts from the same
        # values.
        contexts = nullcontext(), BuffersOfNow(stage)
        with _whole_before_2_10():
            out: Tensor = checkpoint(
                stage, x, use_reentrant=False, context_fn=lambda: contexts, **_WHOLE
            )
    else:
        out = stage(x)
    return out


# Without this, torch ends the second run of RReLU before drawing its slopes, see
# https://github.com/pytorch/pytorch/issues/193671. Before torch 2.10, which has an option, it is a
# switch of the whole process, and checkpoints of other threads may get it.
_WHOLE: dict[str, Any] = (
    {"early_stop": False} if "early_stop" in signature(checkpoint).parameters else {}
)


def _whole_before_2_10() -> AbstractContextManager[None]:
    return nullcontext() if _WHOLE else set_checkpoint_early_stop(False)
