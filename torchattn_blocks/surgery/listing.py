"""List the layers that were put into a network, read from the network itself."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from .._check import check_kind
from .._torch import CHECKPOINTED
from ._insertion import CHILD, Insertion, layers_of, original_name
from ._mark import replaced

How = Literal["after", "before", "instead of"]


@dataclass(frozen=True)
class Change:
    """A layer that was put into a network.

    Attributes:
        layer: The name of the layer's class.
        how: ``"after"``, ``"before"`` or ``"instead of"``.
        target: The name of the module that it runs after or before, or replaces.
        name: The name of the layer, in ``model.named_modules()``.
        keys: The layer's keys in the state dict.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import Change, DropBlock2d, changes, replace
        >>> net = replace(nn.Sequential(nn.Dropout2d()), "0", lambda m: DropBlock2d(m.p))
        >>> changes(net) == [Change("DropBlock2d", "instead of", target="0", name="0", keys=())]
        True
    """

    layer: str
    how: How
    target: str
    name: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer} {self.how} {self.target or 'the model'}"


def changes(model: nn.Module) -> list[Change]:
    """List the layers that `insert_after`, `insert_before` and `replace` put into a network.

    The list is read from the network itself, so it also works for copies and loaded pickles.

    Args:
        model: A network.

    Returns:
        The changes, in the order of ``model.named_modules()``.

    Raises:
        TypeError: If `model` is not a module.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import EfficientChannelAttention, changes, insert_after
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> attention = lambda conv: EfficientChannelAttention(conv.out_channels)
        >>> [change] = changes(insert_after(net, nn.Conv2d, attention))
        >>> change.keys
        ('0.inserted_after.0.conv.weight',)
    """
    check_kind("changes", nn.Module, model=model)
    found = []
    inserted: dict[int, tuple[How, str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Insertion):
            target = original_name(model, name)
            for side in CHILD:
                inserted |= {id(layer): (side, target) for layer in layers_of(module, side)}
        if id(module) in inserted:
            found.append(_change(module, *inserted[id(module)], name))
        if replaced(module) is not None:
            found.append(_change(module, "instead of", original_name(model, name), name))
    return found


def _change(layer: nn.Module, how: How, target: str, name: str) -> Change:
    # The wrapper of activation checkpointing has a name, but omits it from keys.
    prefix = f"{name}.".replace(f"{CHECKPOINTED}.", "")
    keys = tuple(layer.state_dict(prefix=prefix))
    return Change(type(layer).__name__, how, target, name, keys)
