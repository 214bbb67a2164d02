"""Downsampling, for ``UNet(down=...)``.

Each function returns a function that makes the module for a level,
``make(channels, stride=2, spatial_dims=2)``.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from .._check import check_spatial_dims
from .._dims import Size, check_size, per_axis, shortest
from ._conv import same_conv

Down = Callable[..., nn.Module]


class MaxPool1d(nn.MaxPool1d):
    """Torch's module, computed in a way that works for any length in exported and compiled code.

    torch 2.13's own module keeps the length that it was recorded with.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The largest value of each window."""
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return F.max_pool1d(x, *options, return_indices=True)[0]


MAX_POOL: dict[int, type[nn.Module]] = {1: MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL: dict[int, type[nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def max_pool(*, spatial_dims: int = 2) -> Down:
    """The largest value of each window; windows have the size of the stride.

    Args:
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from a number of channels to one of torch's modules.

    Example:
        >>> from torchattn_blocks.models import max_pool
        >>> max_pool()(16), max_pool()(16, stride=(1, 2, 2), spatial_dims=3).kernel_size
        (MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False), (1, 2, 2))
    """
    return _pool("max_pool", MAX_POOL, spatial_dims)


def avg_pool(*, spatial_dims: int = 2) -> Down:
    """The mean of each window; windows have the size of the stride.

    Args:
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from a number of channels to one of torch's modules.

    Example:
        >>> from torchattn_blocks.models import avg_pool
        >>> avg_pool()(16)
        AvgPool2d(kernel_size=2, stride=2, padding=0)
    """
    return _pool("avg_pool", AVG_POOL, spatial_dims)


def strided_conv(kernel_size: Size = 3, *, bias: bool = True, spatial_dims: int = 2) -> Down:
    """A convolution with the stride of the level, and as many channels as before.

    It is initialised as in Keras: Glorot uniform, zero bias.

    Args:
        kernel_size: Size of the kernel, one number or one for each axis.
        bias: Whether the convolution has a bias.
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from a number of channels to one of torch's modules.

    Raises:
        TypeError: If `kernel_size` is not an int.
        ValueError: If `kernel_size` is below 1.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import strided_conv
        >>> strided_conv()(16)(torch.randn(1, 16, 20, 14)).shape
        torch.Size([1, 16, 10, 7])
    """
    check_size("strided_conv", "kernel_size", kernel_size)
    check_spatial_dims("strided_conv", spatial_dims)

    def make(channels: int, *, stride: Size = 2, spatial_dims: int = spatial_dims) -> nn.Module:
        return same_conv(
            "strided_conv",
            channels,
            channels,
            kernel_size=kernel_size,
            stride=stride,
            spatial_dims=spatial_dims,
            bias=bias,
        )

    return make


def _pool(owner: str, kinds: Mapping[int, Callable[..., nn.Module]], spatial_dims: int) -> Down:
    check_spatial_dims(owner, spatial_dims)

    def make(channels: int, *, stride: Size = 2, spatial_dims: int = spatial_dims) -> nn.Module:
        check_spatial_dims(owner, spatial_dims)
        return kinds[spatial_dims](shortest(per_axis(owner, "stride", stride, spatial_dims)))

    return make
