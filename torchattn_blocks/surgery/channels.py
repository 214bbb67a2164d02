"""Read the channels of a module in somebody else's network."""

from collections.abc import Iterable, Iterator

from torch import nn

from .._check import check_kind
from .._kinds import is_attention
from .._torch import BatchOrInstanceNorm
from ._insertion import Inserted


def in_channels(module: nn.Module) -> int:
    """The channels that a module takes.

    A convolution, a linear layer, a normalisation and any module with both attributes
    ``in_channels`` and ``out_channels`` state the number. For other modules it is the number of the
    first such layer inside, in the order of registration. Modules may run in another order: for a
    block that concatenates or has several branches, give the number yourself. Inserted layers and
    attention layers of this library are skipped.

    Args:
        module: A convolution, linear layer, normalisation, or a module with one of them in it.

    Returns:
        The number of channels.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If `module` has no such layer, or a lazy one that never ran.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import in_channels
        >>> in_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)))
        8
    """
    check_kind("in_channels", nn.Module, module=module)
    return _first("in_channels", module, (pair[0] for pair in _pairs(module)))


def out_channels(module: nn.Module) -> int:
    """The channels that a module returns.

    It is read like `in_channels`, but from the last such layer in the order of registration. If
    another layer runs last, give the number yourself: in a block with an attention layer of another
    library, the last one is often that layer's convolution with one output channel.

    Args:
        module: A convolution, linear layer, normalisation, or a module with one of them in it.

    Returns:
        The number of channels.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If `module` has no such layer, or a lazy one that never ran.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import out_channels
        >>> out_channels(nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU()))
        16
    """
    check_kind("out_channels", nn.Module, module=module)
    return _first("out_channels", module, (pair[1] for pair in reversed(list(_pairs(module)))))


def _first(owner: str, module: nn.Module, found: Iterable[int]) -> int:
    if channels := next(iter(found), 0):  # a lazy layer has none before it runs
        return channels
    raise ValueError(
        f"{owner}: module must have a convolution, a linear layer or a normalisation that is not "
        f"lazy, got {type(module).__name__}"
    )


def _pairs(module: nn.Module) -> Iterator[tuple[int, int]]:
    """The input and output channels of the layers in a module."""
    for taken, returned in (("in_channels", "out_channels"), ("in_features", "out_features")):
        before, after = getattr(module, taken, None), getattr(module, returned, None)
        if isinstance(before, int) and isinstance(after, int):  # some networks have lists
            yield before, after
            return
    if isinstance(module, BatchOrInstanceNorm):
        yield module.num_features, module.num_features
    elif isinstance(module, nn.GroupNorm):
        yield module.num_channels, module.num_channels
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and len(module.normalized_shape) == 1:
        yield module.normalized_shape[0], module.normalized_shape[0]
    for child in module.children():
        if not (isinstance(child, Inserted) or is_attention(child)):
            yield from _pairs(child)
