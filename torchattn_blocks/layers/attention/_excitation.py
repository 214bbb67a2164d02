"""The two linear layers between a channel's statistics and its weight."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..._check import options_by_name
from ._base import Attention, Device


class Excitation(Attention):
    """Channel attention with two linear layers; the first one reduces the channels."""

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden_channels: int | None = None,
        bias: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        channels = self.checked(channels)
        hidden = self.hidden(channels, reduction, hidden_channels)
        self.fc1 = nn.Linear(channels, hidden, bias, device, dtype)
        self.activation = self.child("activation", activation, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, channels, bias, device, dtype)
        self.gate = self.child("gate", gate, device=device, dtype=dtype)

    @property
    def channels(self) -> int | None:
        """The channels that the first linear layer takes now. None if unknown."""
        return getattr(self.fc1, "in_features", None)

    def excite(self, statistics: Tensor) -> Tensor:
        """The two linear layers, (..., C) -> (..., C)."""
        out: Tensor = self.fc2(self.activation(self.fc1(statistics)))
        return out
