"""The convolutions of the networks: size-preserving ones, and the last one."""

from torch import nn

from .._check import check_ints, check_spatial_dims
from .._dims import CONVOLUTION, Size, per_axis, shortest
from .._init import glorot_uniform_, start_with


def same_conv(
    owner: str,
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: Size,
    spatial_dims: int,
    stride: Size = 1,
    dilation: Size = 1,
    bias: bool = True,
) -> nn.Module:
    """A convolution padded so that the output has size / stride, for kernels of odd sizes.

    It is initialised as in Keras: Glorot uniform, zero bias.
    """
    check_spatial_dims(owner, spatial_dims)
    check_ints(owner, 1, in_channels=in_channels, out_channels=out_channels)
    kernel = per_axis(owner, "kernel_size", kernel_size, spatial_dims)
    spread = per_axis(owner, "dilation", dilation, spatial_dims)
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, spread, strict=True))
    conv = CONVOLUTION[spatial_dims](
        in_channels,
        out_channels,
        shortest(kernel),
        stride=shortest(per_axis(owner, "stride", stride, spatial_dims)),
        padding=shortest(padding),
        dilation=shortest(spread),
        bias=bias,
    )
    return start_with(glorot_uniform_, conv)


def head(in_channels: int, out_channels: int, spatial_dims: int = 2) -> nn.Module:
    """The 1 x 1 convolution that gives the logits."""
    return same_conv("head", in_channels, out_channels, kernel_size=1, spatial_dims=spatial_dims)
