"""Initial weights that a module finds again.

`start_with` binds the rule to the plain torch module as its `reset_parameters`, so that whoever
resets a model module by module (after `to_empty`, say) restarts it as it was built. A subclass of
the convolution would do the same, and lose what tools do for torch's own class.
"""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import ref

import torch
from torch import nn

Conv = TypeVar("Conv", bound=nn.Conv2d | nn.ConvTranspose2d)


def start_with(rule: Callable[[Conv], None], conv: Conv) -> Conv:
    """Initialise a convolution by the rule, now and whenever it is reset."""
    conv.reset_parameters = _Reset(rule, conv)  # type: ignore[method-assign]
    conv.reset_parameters()
    return conv


class _Reset(Generic[Conv]):
    """A rule bound to a module that it does not keep alive.

    A bound function would: a deleted network would hold its memory until garbage is collected. What
    copies or pickles a module gets a rule bound to the copy.
    """

    def __init__(self, rule: Callable[[Conv], None], conv: Conv) -> None:
        self.rule = rule
        self.conv = ref(conv)

    def __call__(self) -> None:
        conv = self.conv()
        if conv is None:
            raise ReferenceError(
                "reset_parameters: the module is gone of which this is a shallow copy"
            )
        self.rule(conv)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Reset, (self.rule, self.conv())


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
