"""The convolutional block attention module, and the channel attention in it.

Woo, Park, Lee & Kweon, "CBAM: Convolutional block attention module", ECCV 2018.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..._check import options_by_name
from .._recipes import PRODUCTS
from .._recompute import LARGE, recomputation
from ._base import Attention, Device
from ._excitation import Excitation
from ._pool import max_and_mean
from .spatial import SpatialAttention


class ChannelAttention(Excitation):
    r"""Multiply each channel by a weight from the maxima and the means of all channels.

    .. math:: y = x \cdot \sigma(W_2\, \delta(W_1 \max(x)) + W_2\, \delta(W_1\, \mathrm{mean}(x)))

    Maximum and mean are over all positions of a channel, δ is the ReLU, σ the sigmoid. From Woo et
    al., "CBAM: Convolutional block attention module", ECCV 2018, equation 2. The layer does the
    same in training and evaluation.

    Args:
        channels: Channels C of the input.
        reduction: Ratio of C to the channels between the two linear layers, which are at least 1.
        hidden_channels: Channels between the two linear layers, instead of `reduction`.
        bias: Whether the linear layers have biases. The paper's formula has none.
        activation: Function without arguments that returns δ.
        gate: Function without arguments that returns σ.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Linear`.
        dtype: See `torch.nn.Linear`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has shape (N, C, 1, 1).

    Parameters:
        2 C H, where H = max(1, C // `reduction`); 2 C H + H + C with biases.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, or the input has other
            dimensions or channels.

    Note:
        The CBAM authors' code has biases, and makes a layer without weights if C is below the
        reduction. timm has no biases. Positions that share the maximum share its gradient here and
        in timm; max-pooling layers give it to one of them.

    Example:
        >>> import torch
        >>> from torchattn_blocks import ChannelAttention
        >>> layer = ChannelAttention(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 1, 1]))
        >>> sum(w.numel() for w in layer.parameters())
        512
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden_channels: int | None = None,
        bias: bool = False,
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

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each channel, (N, C, 1, 1)."""
        maximum, average = (one.flatten(1) for one in max_and_mean(x, self.spatial_axes))
        # The batch comes first, as tools for per-sample gradients and pruning expect.
        statistics = torch.stack((maximum, average), 1)  # (N, 2, C)
        by_maximum, by_mean = self.excite(statistics).unbind(1)
        return self.as_map(self.gate(by_maximum + by_mean))


class CBAM(Attention):
    """`ChannelAttention`, then `SpatialAttention` on its output.

    From Woo et al., "CBAM: Convolutional block attention module", ECCV 2018, equation 1. The layer
    does the same in training and evaluation, unless `norm` is batch normalisation.

    Args:
        channels: Channels C of the input.
        reduction: See `ChannelAttention`.
        hidden_channels: See `ChannelAttention`.
        mlp_bias: The `bias` of `ChannelAttention`.
        channel: Function from a number of channels to the attention layer that comes first, such as
            the class `EfficientChannelAttention`. None: `ChannelAttention`. With any other layer,
            `reduction`, `hidden_channels` and `mlp_bias` raise an error.
        kernel_size: See `SpatialAttention`.
        bias: See `SpatialAttention`.
        norm: See `SpatialAttention`.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Linear`.
        dtype: See `torch.nn.Linear`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has the shape of the input: it is the product of the maps
        of the children `channel` and `spatial`. For `attention_map` both must be layers that
        multiply by their maps, and their hooks are not called. `forward` calls them like any
        module.

    Parameters:
        2 C H + 98, where H = max(1, C // `reduction`), with the default options.

    Raises:
        TypeError: If a number is not an int, `channel` not a function as above, or the input not a
            floating-point tensor.
        ValueError: If a number is below 1, `kernel_size` even, `spatial_dims` above 3, an option of
            `ChannelAttention` is given together with `channel`, or the input has other dimensions
            or channels.

    Note:
        The authors' code is ``mlp_bias=True, norm=torch.nn.BatchNorm2d``; timm's is
        ``norm=torch.nn.BatchNorm2d`` with the mean before the maximum, as the paper writes it.
        `torchattn_blocks.convert` reads the weights of both.

    Example:
        >>> import torch
        >>> from torchattn_blocks import CBAM
        >>> layer = CBAM(64)
        >>> layer(torch.randn(2, 64, 32, 32)).shape
        torch.Size([2, 64, 32, 32])
        >>> sum(w.numel() for w in layer.parameters())
        610
        >>> from torchattn_blocks import EfficientChannelAttention
        >>> layer = CBAM(64, channel=EfficientChannelAttention)
        >>> sum(w.numel() for w in layer.parameters())
        101
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden_channels: int | None = None,
        mlp_bias: bool = False,
        channel: Callable[..., nn.Module] | None = None,
        kernel_size: int = 7,
        bias: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        channels = self.checked(channels)
        if channel is None:
            channel = partial(
                ChannelAttention,
                reduction=reduction,
                hidden_channels=hidden_channels,
                bias=mlp_bias,
            )
        else:
            _refuse(reduction=reduction, hidden_channels=hidden_channels, mlp_bias=mlp_bias)
        self.channel = self.child(
            "channel", channel, channels, device=device, dtype=dtype, spatial_dims=spatial_dims
        )
        self.spatial = SpatialAttention(
            kernel_size=kernel_size,
            bias=bias,
            norm=norm,
            spatial_dims=spatial_dims,
            device=device,
            dtype=dtype,
        )

    @property
    def channels(self) -> int | None:
        """The channels that the child `channel` takes now. None if unknown."""
        return getattr(self.channel, "channels", None)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        channel: Any = self.channel
        known = hasattr(channel, "attention_map")
        if not known or not getattr(channel, "multiplies_by_map", True):
            raise TypeError(
                "CBAM: for attention_map the child channel must multiply its input by an attention "
                f"map, got {type(channel).__name__}"
            )
        by_channel = channel.attention_map(x)
        return by_channel * self.spatial.attention_map(x * by_channel)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its channel map, then the product by its spatial map."""
        self.check(x)
        with recomputation(PRODUCTS, x, least=LARGE):  # do not keep the product in between
            out: Tensor = self.spatial(self.channel(x))
        return out


def _refuse(**options: Any) -> None:
    """Raise if an option of `ChannelAttention` is given for another layer."""
    usual = {"reduction": 16, "hidden_channels": None, "mlp_bias": False}
    for name, value in options.items():
        if value != usual[name]:
            raise ValueError(
                f"CBAM: {name} must not be given beside channel, got {value!r}: write "
                "channel=lambda channels: ... and give options there"
            )
