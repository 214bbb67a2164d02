"""Coordinate attention: a weight for every row and every column of each channel.

Hou, Zhou & Feng, "Coordinate attention for efficient mobile network design", CVPR 2021.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..._check import check_ints, options_by_name
from ._base import Attention, Device
from ._pool import mean
from ._product import times_product


class CoordinateAttention(Attention):
    r"""Multiply each channel by a weight for each row and a weight for each column.

    .. math:: y_{chw} = x_{chw} \cdot a_{ch} \cdot b_{cw}, \qquad
        [f; g] = \delta(\mathrm{BN}(W_1 [\mathrm{mean}_w x; \mathrm{mean}_h x])), \qquad
        a = \sigma(W_h f), \quad b = \sigma(W_w g)

    The means of rows and columns are concatenated and share the first convolution and the
    normalisation. δ is the hard swish, σ the sigmoid; each W has a bias. From Hou, Zhou & Feng,
    "Coordinate attention for efficient mobile network design", CVPR 2021, equations 4 to 9. In a
    volume, each plane across each of the three axes has a weight. With batch normalisation the
    layer behaves differently in training and evaluation.

    Args:
        channels: Channels C of the input.
        reduction: Ratio of C to the channels between the convolutions, which are at least 8.
        hidden_channels: Channels between the convolutions, instead of `reduction`.
        bias: Whether the convolutions have biases.
        norm: Function from a number of channels to the normalisation after the first convolution,
            of tensors (N, hidden_channels, L). None: no normalisation.
        activation: Function without arguments that returns δ.
        gate: Function without arguments that returns σ.
        spatial_dims: Dimensions after the channels: 2 or 3.
        device: See `torch.nn.Conv1d`.
        dtype: See `torch.nn.Conv1d`.

    Shape:
        (N, C, H, W) in, or (N, C, D, H, W) with ``spatial_dims=3``; the same out; dtype and memory
        format are kept. The attention map has the shape of the input.

    Parameters:
        3 C H + 2 C + 3 H, where H = max(8, C // `reduction`); 3 C H + 2 H without biases. With
        three dimensions C H + C more, or C H.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` neither 2 nor 3, or the input has other
            dimensions or channels.

    Note:
        The defaults follow the authors' code. timm's ``CoordAttn`` has no biases, and more hidden
        channels from 512 channels on; `torchattn_blocks.convert` reads the weights of both.

    Example:
        >>> import torch
        >>> from torchattn_blocks import CoordinateAttention
        >>> layer = CoordinateAttention(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 32, 32]))
        >>> sum(w.numel() for w in layer.parameters())
        1688
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 32,
        hidden_channels: int | None = None,
        bias: bool = True,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.Hardswish,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_ints(type(self).__name__, 2, 3, spatial_dims=spatial_dims)
        super().__init__(spatial_dims)
        channels = self.checked(channels)
        hidden = self.hidden(channels, reduction, hidden_channels, least=8)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        flat: dict[str, Any] = {"spatial_dims": 1}
        self.conv = nn.Conv1d(channels, hidden, 1, bias=bias, **place)
        self.norm = (
            nn.Identity() if norm is None else self.child("norm", norm, hidden, **place, **flat)
        )
        self.activation = self.child("activation", activation, **place)
        self.convs = nn.ModuleList(
            nn.Conv1d(hidden, channels, 1, bias=bias, **place) for _ in range(self.spatial_dims)
        )
        self.gate = self.child("gate", gate, **place)

    @property
    def channels(self) -> int | None:
        """The channels that the first convolution takes now. None if unknown."""
        return getattr(self.conv, "in_channels", None)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        weights, *others = self._along_axes(x)
        for other in others:
            weights = weights * other
        return weights

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by the weights along each axis."""
        self.check(x)
        return times_product(x, *(one.to(x.dtype) for one in self._along_axes(x)))

    def _along_axes(self, x: Tensor) -> list[Tensor]:
        """The weights along each axis, (N, C, H, 1) and (N, C, 1, W)."""
        axes = self.spatial_axes
        means = [mean(x, tuple(other for other in axes if other != axis)) for axis in axes]
        lengths = [x.shape[axis] for axis in axes]
        hidden = self.activation(self.norm(self.conv(torch.cat(means, 2))))
        parts = torch.split(hidden, lengths, 2)
        logits = [conv(parts[i]) for i, conv in enumerate(self.convs)]  # FX cannot iterate them
        weights = torch.split(self.gate(torch.cat(logits, 2)), lengths, 2)
        ones = [None] * (self.spatial_dims - 1)
        return [weights[i][(..., *ones)].movedim(2, axis) for i, axis in enumerate(axes)]
