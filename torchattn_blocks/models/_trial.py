"""Find out what a module returns for feature maps when a network is built."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .._restored import in_evaluation, own_random_numbers, uncompiled
from .._torch import is_dynamo_loaded

Shape = tuple[int, ...]


class DoesNotRunError(Exception):
    """A module does not run; the message says where and why."""


def shape_made_by(module: nn.Module, *shapes: Shape) -> Shape:
    """The shape of a module's output for zeros of these shapes, in evaluation mode.

    Raises:
        DoesNotRunError: If the module does not run, or returns no tensor.
    """
    out = output_of(module, *shapes)
    if not isinstance(out, Tensor):
        raise DoesNotRunError(f"returns no tensor but a {type(out).__name__}")
    return tuple(out.shape)


def output_of(module: nn.Module, *shapes: Shape) -> Any:
    """The output of a module for zeros of these shapes, in evaluation mode.

    Raises:
        DoesNotRunError: If the module does not run.
    """
    tensors = (*module.parameters(), *module.buffers())
    like = next((t for t in tensors if t.is_floating_point() and not is_lazy(t)), torch.zeros(0))
    inputs = [like.new_zeros(shape) for shape in shapes]
    # This would compile compiled code for a small size. Without Dynamo there is no compiled code.
    eager = uncompiled if is_dynamo_loaded() else nullcontext()
    with in_evaluation(module), torch.no_grad(), own_random_numbers(like.device), eager:
        try:
            return module(*inputs)
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DoesNotRunError(f"fails{_where(module, inputs)}: {reason}") from error


def _where(module: nn.Module, inputs: list[Tensor]) -> str:
    """The name of the inner module that fails, if it can be found."""
    running: list[tuple[str, nn.Module]] = []

    def enter(name: str, part: nn.Module, args: object) -> None:
        running.append((name, part))

    def leave(part: nn.Module, args: object, out: object) -> None:
        running.pop()

    handles = []
    try:
        for name, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(partial(enter, name)))
            handles.append(part.register_forward_hook(leave))
        module(*inputs)
    except Exception:
        name, part = running[-1] if running else ("", module)
        return f" in its {name} ({type(part).__name__})" if name else ""
    finally:
        for handle in handles:
            handle.remove()
    return ""
