"""The rules of `_recompute.py`: which functions' outputs to compute again, and from what.

None of these functions draws random numbers, and each is cheap compared with a convolution.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import batch_statistics, pooling_indices
from ._recompute import Plan, Rule, Value


def _again(function: Callable[..., Tensor], *, keep: bool = True) -> Rule:
    """Call the function again with the same arguments."""

    def rule(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
        inputs = _tensors([*args, *kwargs.values()])
        arguments = _without_tensors(args), _without_tensors(kwargs)
        writes = bool(args) and out is args[0]
        return Plan(inputs, partial(_called, function, *arguments, writes), keep)

    return rule


class _Tensor:
    """The place of a tensor among arguments."""


_TENSOR = _Tensor()


def _tensors(argument: Any) -> list[Tensor]:
    """All tensors in an argument, in order."""
    if isinstance(argument, (list, tuple)):
        return [x for one in argument for x in _tensors(one)]
    return [argument] if isinstance(argument, Tensor) else []


def _without_tensors(argument: Any) -> Any:
    """The argument with marks in place of its tensors."""
    if isinstance(argument, Tensor):
        return _TENSOR
    if isinstance(argument, (list, tuple)):
        return [*map(_without_tensors, argument)]
    if isinstance(argument, dict):
        return {name: _without_tensors(one) for name, one in argument.items()}
    return argument


def _with_tensors(argument: Any, tensors: list[Tensor]) -> Any:
    """The argument with tensors in place of its marks, taken from the end of the list."""
    if argument is _TENSOR:
        return tensors.pop()
    if isinstance(argument, list):
        return [_with_tensors(one, tensors) for one in argument]
    if isinstance(argument, dict):
        return {name: _with_tensors(one, tensors) for name, one in argument.items()}
    return argument


def _called(
    function: Callable[..., Tensor],
    args: list[Any],
    kwargs: dict[str, Any],
    writes: bool,
    values: Sequence[Value],
) -> Tensor:
    tensors = [value.tensor for value in reversed(values)]
    if writes and not values[0].fresh:
        tensors[-1] = tensors[-1].clone()
    args = _with_tensors(args, tensors)
    return function(*args, **_with_tensors(kwargs, tensors))


def _relu(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
    return Plan(args[:1] or [kwargs["input"]], _relu_of)


def _relu_of(values: Sequence[Value]) -> Tensor:
    (x,) = values
    return F.relu(x.tensor, inplace=x.fresh)


def _batch_norm(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
    return _planned_batch_norm(out, *args, **kwargs)


def _planned_batch_norm(
    out: Tensor,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Plan:
    """Use the forward pass's statistics. Running statistics do not change again."""
    statistics: tuple[Tensor | None, Tensor | None]
    known = batch_statistics(out.grad_fn) if training else None
    if known is not None:
        mean, inverse = known
        weight = inverse if weight is None else weight * inverse
        # As in evaluation, with variance 1: the same arithmetic, bit for bit, as in training.
        statistics = mean, torch.ones_like(inverse)
        training, eps = False, 0.0
    else:
        weight = _own(weight)
        statistics = (None, None) if training else (_own(running_mean), _own(running_var))
    cudnn = torch.backends.cudnn.enabled
    options = (weight, _own(bias), *statistics, training, 0.0, eps, cudnn)
    return Plan([input], partial(_batch_norm_of, options))


def _own(x: Tensor | None) -> Tensor | None:
    """The current values: a parameter may have others, or no memory, in the backward pass."""
    return None if x is None else x.detach().clone()


def _batch_norm_of(options: tuple[Any, ...], values: Sequence[Value]) -> Tensor:
    (x,) = values
    return torch.batch_norm(x.tensor, *options)


def _instance_norm(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
    return _planned_instance_norm(*args, **kwargs)


def _planned_instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Plan:
    running = (None, None) if use_input_stats else (_own(running_mean), _own(running_var))
    options = (*running, _own(weight), _own(bias), use_input_stats, 0.0, eps)
    return Plan([input], partial(_instance_norm_of, options))


def _instance_norm_of(options: tuple[Any, ...], values: Sequence[Value]) -> Tensor:
    (x,) = values
    return F.instance_norm(x.tensor, *options)


def _pooling_indices(
    function: Callable[..., Any], out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Plan | None:
    """Eight bytes for each position of the smaller feature map."""
    if (indices := pooling_indices(out.grad_fn)) is None:
        return None
    window = args[1:], {name: one for name, one in kwargs.items() if name != "input"}
    x = args[0] if args else kwargs["input"]
    compute = partial(_indices_of, function, *window)
    return Plan([x], compute, keep=False, output=indices.detach())


def _indices_of(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    values: Sequence[Value],
) -> Tensor:
    (x,) = values
    indices: Tensor = function(x.tensor, *args, **{**kwargs, "return_indices": True})[1]
    return indices


_NORMALISATIONS: dict[Any, Rule] = {
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    **{function: _again(function) for function in (F.group_norm, F.layer_norm, F.rms_norm)},
}
_ACTIVATIONS: dict[Any, Rule] = {
    function: _again(function)
    for function in (
        F.celu,
        F.elu,
        F.gelu,
        F.hardsigmoid,
        F.hardswish,
        F.hardtanh,
        F.leaky_relu,
        F.logsigmoid,
        F.mish,
        F.prelu,
        F.relu6,
        F.selu,
        F.silu,
        F.softplus,
        torch.prelu,
        torch.sigmoid,
        torch.tanh,
        Tensor.sigmoid,
        Tensor.tanh,
    )
}
_ACTIVATIONS |= dict.fromkeys((F.relu, torch.relu, Tensor.relu), _relu)

ACTIVATIONS: dict[Any, Rule] = _NORMALISATIONS | _ACTIVATIONS
PRODUCTS: dict[Any, Rule] = {
    function: _again(function) for function in (torch.mul, Tensor.mul, torch.add, Tensor.add)
}
ALL: dict[Any, Rule] = {
    **ACTIVATIONS,
    **PRODUCTS,
    # The backward pass needs its parts much later than the output itself.
    torch.cat: _again(torch.cat, keep=False),
    **{pool: partial(_pooling_indices, pool) for pool in (F.max_pool2d, F.max_pool3d)},
}
