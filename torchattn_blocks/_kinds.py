"""Whether a module is a dropout layer, an attention layer, or drops something by itself.

All code asks here, so that the same question always gets the same answer.
"""

from torch import Tensor, nn

from ._check import is_number
from ._torch import Dropout


def is_attention(module: nn.Module) -> bool:
    """Whether `module` is an attention layer: its class has a method `attention_map`."""
    # On the class: a compiled module passes on methods of the inner module, which is listed, too.
    return callable(getattr(type(module), "attention_map", None))


def is_dropout(module: nn.Module) -> bool:
    """Whether `module` is a dropout layer, of torch, this library or another one."""
    if isinstance(module, Dropout):
        return True
    named_so = type(module).__name__.startswith(("Drop", "StochasticDepth"))
    return named_so and bool(rate_name(module)) and not list(module.parameters())


# These modules drop something, too. (The last one has dropout layers. Without gradients it skips
# them, unless it is in training mode.)
_BY_THEMSELVES = (nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer)


def is_random(module: nn.Module) -> bool:
    """Whether `module` drops something in training mode: a dropout layer or similar."""
    return isinstance(module, _BY_THEMSELVES) or is_dropout(module)


def rate_name(module: nn.Module) -> str:
    """The attribute with the probability of dropping: torch's name, timm's name, or empty."""
    for name in ("p", "drop_prob"):
        rate = getattr(module, name, module)
        if rate is None or is_number(rate) or (isinstance(rate, Tensor) and rate.dim() == 0):
            return name
    return ""


def rate_of(module: nn.Module) -> float:
    """A dropout layer's probability of dropping. None, as in timm, counts as 0."""
    return float(getattr(module, rate_name(module)) or 0)
