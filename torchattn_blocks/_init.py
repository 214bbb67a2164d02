"""Initial weights that a module can restore.

`start_with` gives a plain torch module its own `reset_parameters`. If you then reset a model module
by module (for example after `to_empty`), it starts as it was built. A subclass of the convolution
could do the same, but would lose the support of tools for torch's own class.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ._torch import Convolution, parameters

Weighted = TypeVar("Weighted", Convolution, nn.Linear)


def start_with(rule: Callable[[Tensor], object], layer: Weighted) -> Weighted:
    """Initialise a layer, now and at each reset: the weight by the rule, the bias with zero."""
    # Bound to the table of its parameters, not to the module: a deleted module that refers to
    # itself would hold its memory until garbage collection. Copies and pickles keep the two
    # together.
    layer.reset_parameters = partial(_restart, rule, parameters(layer))  # type: ignore[method-assign]
    layer.reset_parameters()
    return layer


def _restart(rule: Callable[[Tensor], object], own: Mapping[str, Tensor | None]) -> None:
    if (weight := own.get("weight")) is not None:  # pruning, for example, removes it
        rule(weight)
    if (bias := own.get("bias")) is not None:
        nn.init.zeros_(bias)


glorot_uniform_ = nn.init.xavier_uniform_  # Keras' default


def he_normal_(weight: Tensor) -> None:
    """Keras' ``he_normal``: variance 2 / fan-in, cut at two standard deviations."""
    # Cutting a normal at two deviations leaves .8796 of its standard deviation. It is drawn with
    # its inverse distribution function: torch's trunc_normal_ needs tensors that hold data.
    std = math.sqrt(2 / weight[0].numel()) / 0.87962566103423978
    within = math.erf(math.sqrt(2))  # probability of a normal within two deviations
    with torch.no_grad():
        weight.uniform_(-within, within).erfinv_().mul_(math.sqrt(2) * std)
