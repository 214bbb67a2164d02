"""Triplet attention: spatial attention along each of the three axes of a feature map.

Misra, Nalamada, Arasanipalai & Hou, "Rotate to attend: Convolutional triplet attention module",
WACV 2021.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..._check import check_ints, check_odd, options_by_name, plain
from ._base import Attention, Device
from ._pool import max_and_mean
from ._product import times_sum


class TripletAttention(Attention):
    r"""Multiply each element by the mean of three weights, one for each pair of axes.

    .. math:: y = x \cdot \tfrac{1}{3} (a_{hw} + a_{cw} + a_{ch}), \qquad
        a_{hw} = \sigma(\mathrm{BN}(w_{hw} * [\max_c x;\; \mathrm{mean}_c\, x]))

    :math:`a_{cw}` and :math:`a_{ch}` are computed the same way, from maxima and means over rows and
    over columns. There the k x k convolution runs over channels and columns, and over rows and
    channels. From Misra et al., "Rotate to attend: Convolutional triplet attention module", WACV
    2021, equations 1 and 2. With batch normalisation the layer behaves differently in training and
    evaluation.

    Args:
        kernel_size: Size k of the convolutions, odd.
        norm: Function from a number of channels, here 1, to the normalisation after each
            convolution. None: no normalisation.
        spatial_dims: Dimensions after the channels: 2.
        device: See `torch.nn.Conv2d`.
        dtype: See `torch.nn.Conv2d`.

    Shape:
        (N, C, H, W) in, for any C; the same out; dtype and memory format are kept. The attention
        map has the shape of the input.

    Parameters:
        6 k k + 6, whatever C: 300 for k = 7; 294 without normalisation.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If `kernel_size` is even or below 1, `spatial_dims` not 2, or the input has
            other dimensions; from torch, in training with batch normalisation, for a single value.

    Note:
        The convolutions also run across neighbouring channels, though their order means nothing
        before training. The authors' batch normalisation has a momentum of 0.01; ours has torch's
        0.1.

    Example:
        >>> import torch
        >>> from torchattn_blocks import TripletAttention
        >>> layer = TripletAttention()
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 32, 32]))
        >>> sum(w.numel() for w in layer.parameters())
        300
    """

    @options_by_name
    def __init__(
        self,
        *,
        kernel_size: int = 7,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_ints(type(self).__name__, 2, 2, spatial_dims=spatial_dims)
        super().__init__(spatial_dims)
        check_odd(type(self).__name__, kernel_size=kernel_size)
        size = plain(kernel_size)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.convs = nn.ModuleList(
            nn.Conv2d(2, 1, size, padding=size // 2, bias=False, **place) for _ in range(3)
        )
        self.norms = nn.ModuleList(
            nn.Identity() if norm is None else self.child("norm", norm, 1, **place, spatial_dims=2)
            for _ in range(3)
        )

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        first, second, third = self._across_axes(x)
        return first + second + third

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by the mean of the three weights."""
        self.check(x)
        return times_sum(x, *(one.to(x.dtype) for one in self._across_axes(x)))

    def _across_axes(self, x: Tensor) -> list[Tensor]:
        """A third of the weights across channels, rows and columns: (N, 1, H, W) and so on."""
        weights = []
        for axis, conv, norm in zip((1, 2, 3), self.convs, self.norms, strict=True):
            # (N, 2, H, W), (N, 2, C, W), (N, 2, H, C). If the statistics of `x` itself are stacked,
            # inductor 2.13 fails on varying sizes.
            summary = torch.cat(max_and_mean(x.transpose(1, axis), (1,)), 1)
            weights.append(norm(conv(summary)).sigmoid().transpose(1, axis) / 3)
        return weights
