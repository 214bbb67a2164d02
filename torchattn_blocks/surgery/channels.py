"""The channels of a module of somebody else's network."""

from collections.abc import Iterable

from torch import nn

from .._check import check_kind

_IN = ("in_channels", "in_features", "num_features", "num_channels")
_OUT = ("out_channels", "out_features", "num_features", "num_channels")


def in_channels(module: nn.Module) -> int:
    """The channels that a module takes.

    A convolution, a linear layer and a normalisation say so by attributes such as ``in_channels``.
    Of any other module it is what the first such layer in it takes, in the order in which they were
    registered. That is mostly, but not always, the order in which they run.

    Args:
        module: A convolution, linear layer, normalisation, or a module with one of them in it.

    Returns:
        The number of channels.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If `module` has no such layer.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import in_channels
        >>> in_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)))
        8
    """
    check_kind("in_channels", nn.Module, module=module)
    return _found("in_channels", module, module.modules(), _IN)


def out_channels(module: nn.Module) -> int:
    """The channels that a module returns.

    A convolution, a linear layer and a normalisation say so by attributes such as ``out_channels``.
    Of any other module it is what the last such layer in it returns, in the order in which they
    were registered. That is mostly, but not always, the order in which they run.

    Args:
        module: A convolution, linear layer, normalisation, or a module with one of them in it.

    Returns:
        The number of channels.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If `module` has no such layer.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import out_channels
        >>> out_channels(nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU()))
        16
    """
    check_kind("out_channels", nn.Module, module=module)
    return _found("out_channels", module, reversed(list(module.modules())), _OUT)


def _found(
    owner: str, module: nn.Module, layers: Iterable[nn.Module], attributes: tuple[str, ...]
) -> int:
    for layer in (module, *layers):
        for attribute in attributes:
            # Some networks have a list of that name.
            if isinstance(number := getattr(layer, attribute, None), int):
                return number
        shape = getattr(layer, "normalized_shape", None)  # of nn.LayerNorm and nn.RMSNorm
        if isinstance(shape, tuple | list) and len(shape) == 1:
            return int(shape[0])
    kind = type(module).__name__
    raise ValueError(
        f"{owner}: module must have a convolution, a linear layer or a normalisation, got {kind}"
    )
