"""Upsampling, for ``UNet(up=...)``.

Each function returns a function that makes the module for a level,
``make(in_channels, out_channels, stride=2, spatial_dims=2)``. Convolutions are initialised as in
Keras: Glorot uniform, zero bias.
"""

from collections.abc import Callable
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn

from .._check import check_choice, check_ints, check_spatial_dims
from .._dims import LINEAR, TRANSPOSED, Size, check_size, per_axis, shortest
from .._init import glorot_uniform_, start_with
from ._conv import same_conv

Up = Callable[..., nn.Module]
Mode = Literal["nearest", "linear", "bilinear", "bicubic", "trilinear"]
AXES: dict[Mode, int] = {"bilinear": 2, "bicubic": 2, "trilinear": 3}  # if only one fits


def transposed(kernel_size: Size | None = None, *, bias: bool = True, spatial_dims: int = 2) -> Up:
    """Upsampling by a transposed convolution with the stride of the level.

    Args:
        kernel_size: Size of the kernel, one number or one for each axis, no smaller than the
            stride. By default it is the stride, 2 x 2 in the RSAN paper; it is 3 in the authors'
            code.
        bias: Whether the convolution has a bias.
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from the numbers of input and output channels to one of torch's modules.

    Raises:
        TypeError: If `kernel_size` is not an int.
        ValueError: If `kernel_size` is below 1, or below the stride when the module is made.

    Note:
        The output of a transposed convolution has stride x size positions, and
        ``kernel_size - stride`` more. Like the padding "same" of Keras and TensorFlow, this one
        cuts half of the extra positions at the top and left, and the rest at the bottom and right.
        If their number is odd, torch's module leaves the last row and column, and `UNet` cuts them
        off.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import transposed
        >>> transposed()(16, 8)(torch.randn(1, 16, 10, 7)).shape
        torch.Size([1, 8, 20, 14])
        >>> transposed(3)(16, 8)(torch.randn(1, 16, 10, 7)).shape
        torch.Size([1, 8, 21, 15])
    """
    owner = "transposed"
    check_spatial_dims(owner, spatial_dims)
    if kernel_size is not None:
        check_size(owner, "kernel_size", kernel_size)

    def make(
        in_channels: int, out_channels: int, *, stride: Size = 2, spatial_dims: int = spatial_dims
    ) -> nn.Module:
        check_spatial_dims(owner, spatial_dims)
        check_ints(owner, 1, in_channels=in_channels, out_channels=out_channels)
        strides = per_axis(owner, "stride", stride, spatial_dims)
        given = strides if kernel_size is None else kernel_size
        kernel = per_axis(owner, "kernel_size", given, spatial_dims)
        for size, step in zip(kernel, strides, strict=True):
            check_ints(owner, step, kernel_size=size)
        cut = tuple((size - step) // 2 for size, step in zip(kernel, strides, strict=True))
        conv = TRANSPOSED[spatial_dims](
            in_channels,
            out_channels,
            shortest(kernel),
            stride=shortest(strides),
            padding=shortest(cut),
            bias=bias,
        )
        return start_with(glorot_uniform_, conv)

    return make


def upsample(
    mode: Mode = "linear",
    *,
    kernel_size: Size | None = 3,
    bias: bool = True,
    align_corners: bool = False,
    spatial_dims: int = 2,
) -> Up:
    """Upsampling by interpolation, followed by a convolution.

    Args:
        mode: ``"nearest"``, or ``"linear"`` along each axis; ``"bilinear"``, ``"bicubic"`` and
            ``"trilinear"`` are only for two, two and three axes. See `torch.nn.Upsample`.
        kernel_size: Size of the convolution's kernel, odd. None: no convolution, and as many
            channels as before.
        bias: Whether the convolution has a bias.
        align_corners: See `torch.nn.Upsample`; it has no meaning for ``"nearest"``.
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from the numbers of input and output channels to the module.

    Raises:
        TypeError: If `kernel_size` is not an int.
        ValueError: If `mode` is not one of the strings above, or does not fit the network's
            dimensions when the module is made, or `kernel_size` is even or below 1.

    Note:
        On CUDA the gradient of all modes except ``"nearest"`` is not deterministic, unless
        `torch.use_deterministic_algorithms` is on. torch 2.13 cannot export ``"bicubic"`` for
        varying sizes.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import upsample
        >>> upsample("bilinear")(16, 8)(torch.randn(1, 16, 10, 7)).shape
        torch.Size([1, 8, 20, 14])
    """
    owner = "upsample"
    check_spatial_dims(owner, spatial_dims)
    check_choice(owner, get_args(Mode), mode=mode)
    if kernel_size is not None:
        check_size(owner, "kernel_size", kernel_size, odd=True)

    def make(
        in_channels: int, out_channels: int, *, stride: Size = 2, spatial_dims: int = spatial_dims
    ) -> nn.Module:
        check_spatial_dims(owner, spatial_dims)
        if AXES.get(mode, spatial_dims) != spatial_dims:
            needed = f"{AXES[mode]}, got {spatial_dims}"
            raise ValueError(f"{owner}: for mode {mode!r} spatial_dims must be {needed}")
        torchs = LINEAR[spatial_dims] if mode == "linear" else mode
        factors = tuple(map(float, per_axis(owner, "stride", stride, spatial_dims)))
        aligned = None if mode == "nearest" else align_corners
        interpolation = nn.Upsample(scale_factor=factors, mode=torchs, align_corners=aligned)
        if kernel_size is None:
            return interpolation
        conv = same_conv(
            owner,
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            spatial_dims=spatial_dims,
            bias=bias,
        )
        return nn.Sequential(interpolation, conv)

    return make


def pixel_shuffle(*, kernel_size: Size = 3, bias: bool = True, spatial_dims: int = 2) -> Up:
    """Upsampling by a convolution to more channels, which become neighbouring pixels.

    From Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", CVPR 2016. In two dimensions with equal strides,
    `torch.nn.PixelShuffle` moves the pixels.

    Args:
        kernel_size: Size of the convolution's kernel, odd.
        bias: Whether the convolution has a bias.
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the module yourself. A
            `UNet` passes its own.

    Returns:
        Function from the numbers of input and output channels to the module.

    Raises:
        TypeError: If `kernel_size` is not an int.
        ValueError: If `kernel_size` is even or below 1.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import pixel_shuffle
        >>> pixel_shuffle()(16, 8)(torch.randn(1, 16, 10, 7)).shape
        torch.Size([1, 8, 20, 14])
    """
    owner = "pixel_shuffle"
    check_spatial_dims(owner, spatial_dims)
    check_size(owner, "kernel_size", kernel_size, odd=True)

    def make(
        in_channels: int, out_channels: int, *, stride: Size = 2, spatial_dims: int = spatial_dims
    ) -> nn.Module:
        strides = per_axis(owner, "stride", stride, spatial_dims)
        conv = same_conv(
            owner,
            in_channels,
            out_channels * prod(strides),
            kernel_size=kernel_size,
            spatial_dims=spatial_dims,
            bias=bias,
        )
        torchs = spatial_dims == 2 and strides[0] == strides[1]
        return nn.Sequential(conv, nn.PixelShuffle(strides[0]) if torchs else Shuffle(strides))

    return make


class Shuffle(nn.Module):
    """`torch.nn.PixelShuffle` for any number of axes, with a factor for each.

    (N, C x D x H x W, d, h, w) in, (N, C, D x d, H x h, W x w) out, for factors D, H, W.
    """

    def __init__(self, factors: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        """Move groups of channels to neighbouring positions."""
        # Leave out axes with factor 1: export would assume that they can be joined.
        axes = [axis for axis, factor in enumerate(self.factors) if factor > 1]
        factors = [self.factors[axis] for axis in axes]
        x = x.unflatten(1, (-1, *factors))  # type: ignore[no-untyped-call]
        # (N, C, *factors, *size): move the last factor behind its size and join the two.
        for left, axis in reversed(list(enumerate(axes))):
            size = 2 + left + axis
            x = x.movedim(2 + left, size + 1).flatten(size, size + 1)
        return x

    def extra_repr(self) -> str:
        """The factors."""
        return f"{self.factors}"
