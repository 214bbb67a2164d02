"""The bottleneck attention module: a channel attention and a spatial attention side by side.

Park, Woo, Lee & Kweon, "BAM: Bottleneck attention module", BMVC 2018.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..._check import check_choice, check_ints, options_by_name, plain
from ..._dims import BATCH_NORM, CONVOLUTION
from .._eager import has_memory
from ._base import Attention, Device
from ._pool import mean
from ._product import fused, plus_times_sigmoid

Fusion = Literal["add", "multiply"]
FUSIONS = ("add", "multiply")


def _batch_norm(channels: int, *, spatial_dims: int, device: Device, dtype: Any) -> nn.Module:
    return BATCH_NORM[spatial_dims](channels, device=device, dtype=dtype)


class BAM(Attention):
    r"""Multiply each element by 1 plus a weight from its channel and its position.

    .. math:: y = x \cdot (1 + \sigma(m_c(x) + m_p(x)))

    :math:`m_c` gives a number for each channel: two linear layers on the means of all channels.
    :math:`m_p` gives one for each position: a 1 x 1 convolution that reduces the channels, two
    dilated 3 x 3 convolutions, and a 1 x 1 convolution to one channel. From Park et al., "BAM:
    Bottleneck attention module", BMVC 2018, equations 1 to 4. With batch normalisation the layer
    behaves differently in training and evaluation.

    Args:
        channels: Channels C of the input.
        fusion: ``"add"``, as in the paper, or ``"multiply"``, as in the authors' code.
        reduction: Ratio of C to the channels in between, which are at least 1.
        hidden_channels: Channels in between, instead of `reduction`.
        dilation: Dilation of the 3 x 3 convolutions.
        norm: Function from a number of channels to the normalisation after each convolution except
            the last; by default batch normalisation. None: no normalisation.
        channel_norm: Function from a number of channels to the normalisation between the linear
            layers, of tensors (N, hidden_channels). None: no normalisation.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Conv2d`.
        dtype: See `torch.nn.Conv2d`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has the shape of the input, and its values lie between 1
        and 2.

    Parameters:
        3 C H + C + 18 H H + 13 H + 1 with two dimensions, where H = max(1, C // `reduction`).

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, `fusion` is not one of the
            strings above, or the input has other dimensions or channels; in training with batch
            normalisation as `channel_norm`, if it has one sample.

    Note:
        In the paper's equations batch normalisation comes last in both parts; here it comes where
        the authors' code has it. The authors' code multiplies :math:`m_c` and :math:`m_p`; the
        paper adds them.

    Example:
        >>> import torch
        >>> from torchattn_blocks import BAM
        >>> layer = BAM(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 32, 32]))
        >>> sum(w.numel() for w in layer.parameters())
        1173
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        fusion: Fusion = "add",
        reduction: int = 16,
        hidden_channels: int | None = None,
        dilation: int = 4,
        norm: Callable[..., nn.Module] | None = _batch_norm,
        channel_norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        owner, channels = type(self).__name__, self.checked(channels)
        check_choice(owner, FUSIONS, fusion=fusion)
        check_ints(owner, 1, dilation=dilation)
        hidden, reach = self.hidden(channels, reduction, hidden_channels), plain(dilation)
        self.fusion: Fusion = fusion
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden, **place),
            nn.Identity()
            if channel_norm is None
            else self.child("channel_norm", channel_norm, hidden, **place, spatial_dims=1),
            nn.ReLU(),
            nn.Linear(hidden, channels, **place),
        )
        convolution = CONVOLUTION[self.spatial_dims]
        self.position = nn.Sequential()
        dims = {"spatial_dims": self.spatial_dims}
        for kernel, before in ((1, channels), (3, hidden), (3, hidden)):
            spread = {"padding": reach, "dilation": reach} if kernel == 3 else {}
            self.position.append(convolution(before, hidden, kernel, **spread, **place))
            self.position.append(
                nn.Identity() if norm is None else self.child("norm", norm, hidden, **place, **dims)
            )
            self.position.append(nn.ReLU())
        self.position.append(convolution(hidden, 1, 1, **place))

    @property
    def channels(self) -> int | None:
        """The channels that the first linear layer takes now. None if unknown."""
        return getattr(self.channel[0], "in_features", None)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        return 1 + fused(*self._both(x), add=self.fusion == "add").sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        self.check(x)
        by_channel, by_position = (part.to(x.dtype) for part in self._both(x))
        return plus_times_sigmoid(x, by_channel, by_position, add=self.fusion == "add")

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A number for each channel, (N, C, 1, 1), and one for each position, (N, 1, H, W)."""
        norm = self.channel[1]
        if type(norm) is nn.BatchNorm1d and norm.training and has_memory(x) and x.shape[0] == 1:
            raise ValueError(
                "BAM: in training with batch normalisation as channel_norm x must have two samples "
                f"or more, got shape {tuple(x.shape)}: give channel_norm=None"
            )
        return self.as_map(self.channel(mean(x, self.spatial_axes))), self.position(x)

    def extra_repr(self) -> str:
        """The options that the children do not show."""
        return f"fusion={self.fusion!r}, {super().extra_repr()}"
