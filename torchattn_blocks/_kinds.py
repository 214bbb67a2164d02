"""What a module is: a dropout layer, an attention layer, or what drops something by itself.

Everything that asks asks here, so that one question has one answer.
"""

from torch import Tensor, nn

from ._check import is_number
from ._torch import Dropout


def is_attention(module: nn.Module) -> bool:
    """Whether it is an attention layer: its class has a method `attention_map`."""
    # Of the class: a compiled module lends the methods of the one within, which is listed too.
    return callable(getattr(type(module), "attention_map", None))


def is_dropout(module: nn.Module) -> bool:
    """Whether it is a dropout layer, of torch, of this library or of another."""
    if isinstance(module, Dropout):
        return True
    named_so = type(module).__name__.startswith(("Drop", "StochasticDepth"))
    return named_so and bool(rate_name(module)) and not list(module.parameters())


# They drop something, too. (The last one has dropout layers, and skips them without gradients
# unless it is in training mode.)
_BY_THEMSELVES = (nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer)


def is_random(module: nn.Module) -> bool:
    """Whether it drops something in training mode: a dropout layer, or what does so too."""
    return isinstance(module, _BY_THEMSELVES) or is_dropout(module)


def rate_name(module: nn.Module) -> str:
    """The attribute with the probability of dropping: torch's name, timm's, or empty for none."""
    for name in ("p", "drop_prob"):
        rate = getattr(module, name, module)
        if rate is None or is_number(rate) or (isinstance(rate, Tensor) and rate.dim() == 0):
            return name
    return ""


def rate_of(module: nn.Module) -> float:
    """The probability of dropping of a dropout layer. None, as in timm, is 0."""
    return float(getattr(module, rate_name(module)) or 0)
