"""Efficient channel attention: a weight for every channel from its neighbours.

Wang, Wu, Zhu, Li, Zuo & Hu, "ECA-Net: Efficient channel attention for deep convolutional neural
networks", CVPR 2020.
"""

import math

import torch
from torch import Tensor, nn

from ..._check import check_odd, options_by_name, plain
from ._base import Attention, Device
from ._pool import mean


class EfficientChannelAttention(Attention):
    r"""Multiply each channel by a weight from the means of k neighbouring channels.

    .. math:: y = x \cdot \sigma(w * \mathrm{mean}(x))

    The mean is over all positions of a channel, * a convolution along the channels, σ the sigmoid.
    From Wang et al., "ECA-Net: Efficient channel attention for deep convolutional neural networks",
    CVPR 2020, section 3. The layer does the same in training and evaluation.

    Args:
        channels: Channels C of the input. They only set the default of `kernel_size`: the layer
            takes inputs of any C.
        kernel_size: Size k of the convolution, odd. By default the paper's (equation 12): the
            integer part of (log2 C + 1) / 2, plus 1 if that is even.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Conv1d`.
        dtype: See `torch.nn.Conv1d`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has shape (N, C, 1, 1).

    Parameters:
        k: 3 for 8 to 127 channels, 5 for 128 to 2047.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `kernel_size` even, `spatial_dims` above 3, or the input
            has other dimensions.

    Note:
        timm's kernels have at least 3 elements; ours has 1 if C is below 8, as in the authors'
        code.

    Example:
        >>> import torch
        >>> from torchattn_blocks import EfficientChannelAttention
        >>> layer = EfficientChannelAttention(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 1, 1]))
        >>> sum(w.numel() for w in layer.parameters())
        3
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int | None = None,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        channels = self.checked(channels)
        kernel_size = _kernel_size(channels) if kernel_size is None else kernel_size
        check_odd("EfficientChannelAttention", kernel_size=kernel_size)
        kernel_size = plain(kernel_size)
        self.conv = nn.Conv1d(
            1, 1, kernel_size, padding=kernel_size // 2, bias=False, device=device, dtype=dtype
        )

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each channel, (N, C, 1, 1)."""
        means = mean(x, self.spatial_axes)
        return self.as_map(self.conv(means[:, None]).sigmoid()[:, 0])


def _kernel_size(channels: int) -> int:
    size = int((math.log2(channels) + 1) / 2)
    return size + 1 - size % 2
