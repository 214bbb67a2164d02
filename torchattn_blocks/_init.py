"""Initial weights that a module finds again.

`start_with` binds the rule to the plain torch module as its `reset_parameters`, so that whoever
resets a model module by module (after `to_empty`, say) restarts it as it was built. A subclass of
the convolution would do the same, and lose what tools do for torch's own class.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

Conv = TypeVar("Conv", bound=nn.Conv2d | nn.ConvTranspose2d)


def start_with(rule: Callable[[Conv], None], conv: Conv) -> Conv:
    """Initialise a convolution by the rule, now and whenever it is reset."""
    conv.reset_parameters = partial(rule, conv)  # type: ignore[method-assign]
    conv.reset_parameters()
    return conv


def glorot_uniform_(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Keras' default: Glorot uniform, zero bias."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def he_normal_(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Keras' ``he_normal``: variance 2 / fan-in, cut at two deviations; zero bias."""
    # Cutting a normal at two deviations leaves .8796 of its standard deviation. Drawn through the
    # inverse of its distribution function: torch's trunc_normal_ needs tensors that hold data.
    std = math.sqrt(2 / conv.weight[0].numel()) / 0.87962566103423978
    within = math.erf(math.sqrt(2))  # probability of a normal within two deviations
    with torch.no_grad():
        conv.weight.uniform_(-within, within).erfinv_().mul_(math.sqrt(2) * std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
