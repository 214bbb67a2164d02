"""The base class of the attention layers."""

from typing import Any

import torch
from torch import Tensor, nn

from ..._check import check_ints, check_map, check_spatial_dims, plain
from ..._factory import made_by

Device = torch.device | str | int | None


class Attention(nn.Module):
    """A layer that multiplies feature maps by attention maps that it computes from them."""

    multiplies_by_map = True

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        check_spatial_dims(type(self).__name__, spatial_dims)
        self.spatial_dims = plain(spatial_dims)

    @property
    def channels(self) -> int | None:
        """The channels that the children take now (pruning changes them). None: any, or unknown."""
        return None

    def check(self, x: Tensor) -> None:
        """Raise unless `x` has the dimensions and channels of this layer."""
        check_map(type(self).__name__, x, self.channels, self.spatial_dims)

    def weigh(self, x: Tensor) -> Tensor:
        """The attention map of a checked `x`, in any dtype. Each layer defines this."""
        raise NotImplementedError

    def attention_map(self, x: Tensor) -> Tensor:
        """The factor of `x` in `forward`, with the dtype of `x` and broadcastable to its shape."""
        self.check(x)
        # Under autocast a child, such as a normalisation, may return another dtype.
        return self.weigh(x).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        return x * self.attention_map(x)

    def checked(self, channels: int) -> int:
        """Return a number of channels as an int."""
        check_ints(type(self).__name__, 1, channels=channels)
        return int(plain(channels))

    def hidden(
        self, channels: int, reduction: int, hidden_channels: int | None, *, least: int = 1
    ) -> int:
        """The channels between two layers: given, or reduced but at least `least`."""
        owner = type(self).__name__
        check_ints(owner, 1, reduction=reduction)
        if hidden_channels is None:
            hidden_channels = max(least, channels // reduction)
        check_ints(owner, 1, hidden_channels=hidden_channels)
        return int(plain(hidden_channels))

    def child(
        self,
        name: str,
        factory: Any,
        *args: Any,
        device: Device,
        dtype: torch.dtype | None,
        **offers: Any,
    ) -> nn.Module:
        """The module that a user's factory makes, on the device and in the dtype of this layer."""
        offers |= {"device": device, "dtype": dtype}
        module = made_by(type(self).__name__, name, factory, *args, **offers)
        return module if device is None and dtype is None else module.to(device, dtype)

    def extra_repr(self) -> str:
        """The options that the children do not show."""
        return f"spatial_dims={self.spatial_dims}"

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The axes of height and width, and of depth if there is one."""
        return tuple(range(2, 2 + self.spatial_dims))

    def as_map(self, values: Tensor) -> Tensor:
        """One value for each channel as an attention map, (N, C) -> (N, C, 1, ...)."""
        return values[(..., *[None] * self.spatial_dims)]
