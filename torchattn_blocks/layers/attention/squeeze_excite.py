"""Squeeze and excitation: a weight for every channel, optionally also one for every position.

Hu, Shen & Sun, "Squeeze-and-excitation networks", CVPR 2018;
Roy, Navab & Wachinger, "Concurrent spatial and channel squeeze & excitation in fully convolutional
networks", MICCAI 2018.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..._check import options_by_name
from ..._dims import CONVOLUTION
from ._base import Device
from ._excitation import Excitation
from ._pool import mean
from ._product import times_sum


class SqueezeExcite(Excitation):
    r"""Multiply each channel by a weight computed from the means of all channels.

    .. math:: y = x \cdot \sigma(W_2\, \delta(W_1\, \mathrm{mean}(x) + b_1) + b_2)

    The mean is over all positions of a channel, δ is the ReLU, σ the sigmoid. From Hu, Shen & Sun,
    "Squeeze-and-excitation networks", CVPR 2018, equations 2 to 4. The layer does the same in
    training and evaluation.

    Args:
        channels: Channels C of the input.
        reduction: Ratio of C to the channels between the two linear layers, which are at least 1.
        hidden_channels: Channels between the two linear layers, instead of `reduction`.
        bias: Whether the linear layers have biases.
        activation: Function without arguments that returns δ.
        gate: Function without arguments that returns σ.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Linear`.
        dtype: See `torch.nn.Linear`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has shape (N, C, 1, 1).

    Parameters:
        2 C H + H + C, where H = max(1, C // `reduction`); 2 C H without biases.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, or the input has other
            dimensions or channels.

    Note:
        timm rounds the hidden channels to a multiple of 8. segmentation_models.pytorch and MONAI
        raise an error or fail if C is smaller than the reduction. Most libraries compute the linear
        layers as 1 x 1 convolutions; `torchattn_blocks.convert` reads their weights.

    Example:
        >>> import torch
        >>> from torchattn_blocks import SqueezeExcite
        >>> layer = SqueezeExcite(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 1, 1]))
        >>> sum(w.numel() for w in layer.parameters())
        580
    """

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each channel, (N, C, 1, 1)."""
        return self.as_map(self.gate(self.excite(mean(x, self.spatial_axes))))


class ConcurrentSqueezeExcite(SqueezeExcite):
    r"""Multiply each element by a weight for its channel plus a weight for its position (scSE).

    .. math:: y = x \cdot (\sigma(W_2\, \delta(W_1\, \mathrm{mean}(x) + b_1) + b_2)
        + \sigma(w_3^\top x + b_3))

    The first term is the weight of `SqueezeExcite`. The second is a 1 x 1 convolution to one
    channel and a sigmoid. From Roy, Navab & Wachinger, "Concurrent spatial and channel squeeze &
    excitation in fully convolutional networks", MICCAI 2018, section 2. The layer does the same in
    training and evaluation.

    Args:
        channels: Channels C of the input.
        reduction: Ratio of C to the channels between the two linear layers, which are at least 1.
        hidden_channels: Channels between the two linear layers, instead of `reduction`.
        bias: Whether the linear layers and the convolution have biases.
        activation: Function without arguments that returns δ.
        gate: Function without arguments that returns σ.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Linear`.
        dtype: See `torch.nn.Linear`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has the shape of the input, and its values lie between 0
        and 2.

    Parameters:
        2 C H + H + 2 C + 1, where H = max(1, C // `reduction`); 2 C H + C without biases.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, or the input has other
            dimensions or channels.

    Note:
        The reduction is 2 in the paper and 16 in segmentation_models.pytorch, which fails if C is
        smaller. Some libraries take the greater of the two products instead of their sum.

    Example:
        >>> import torch
        >>> from torchattn_blocks import ConcurrentSqueezeExcite
        >>> layer = ConcurrentSqueezeExcite(64)
        >>> layer(torch.randn(2, 64, 32, 32)).shape
        torch.Size([2, 64, 32, 32])
        >>> sum(w.numel() for w in layer.parameters())
        4257
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        hidden_channels: int | None = None,
        bias: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            channels,
            reduction=reduction,
            hidden_channels=hidden_channels,
            bias=bias,
            activation=activation,
            gate=gate,
            spatial_dims=spatial_dims,
            device=device,
            dtype=dtype,
        )
        convolution = CONVOLUTION[self.spatial_dims]
        self.conv = convolution(self.fc1.in_features, 1, 1, bias=bias, device=device, dtype=dtype)
        self.position_gate = self.child("gate", gate, device=device, dtype=dtype)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        by_channel, by_position = self._both(x)
        return by_channel + by_position

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        self.check(x)
        by_channel, by_position = (weights.to(x.dtype) for weights in self._both(x))
        return times_sum(x, by_channel, by_position)

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the channels and the weights of the positions."""
        return super().weigh(x), self.position_gate(self.conv(x))
