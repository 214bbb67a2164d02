"""Parts of a `UNet` between and after its stages. Each function initialises what it returns."""

from collections.abc import Callable

from torch import nn

from .._check import check_at_least, plain_int
from .._init import glorot_uniform_, start_with


def transposed(kernel_size: int = 2) -> Callable[[int, int], nn.Module]:
    """Upsampling by a transposed convolution with stride 2, for ``UNet(up=...)``.

    It doubles height and width exactly. It is initialised as in Keras: Glorot uniform, zero bias.

    Args:
        kernel_size: Height and width of the kernel, 2 or more. It is 2 in the RSAN paper, and 3 in
            the authors' code.

    Returns:
        Function from the numbers of input and output channels to the module.

    Raises:
        TypeError: If `kernel_size` is not an int.
        ValueError: If `kernel_size` is below 2.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import transposed
        >>> transposed(3)(16, 8)(torch.randn(1, 16, 10, 7)).shape
        torch.Size([1, 8, 20, 14])
    """
    check_at_least("transposed", 2, kernel_size=kernel_size)
    kernel_size = plain_int(kernel_size)

    def make(in_channels: int, out_channels: int) -> nn.Module:
        conv = nn.ConvTranspose2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=2,
            padding=(kernel_size - 1) // 2,
            output_padding=kernel_size % 2,
        )
        return start_with(glorot_uniform_, conv)

    return make


def head(in_channels: int, out_channels: int) -> nn.Module:
    """The 1 x 1 convolution that gives the logits."""
    return start_with(glorot_uniform_, nn.Conv2d(in_channels, out_channels, 1))
