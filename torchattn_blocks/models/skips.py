"""How the decoder of a `UNet` takes a skip connection, for ``UNet(skip=...)``.

Each function returns a function that makes the module for a level,
``make(up_channels, skip_channels, spatial_dims=2)``. The module is called with the upsampled
feature maps and the encoder's, both of the same size.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._factory import made_by

Skip = Callable[..., nn.Module]


class Merge(nn.Module):
    """A skip connection, weighted by a gate if there is one, and how it is merged."""

    def __init__(self, gate: nn.Module | None) -> None:
        super().__init__()
        self.gate = gate

    def gated(self, x: Tensor, skip: Tensor) -> Tensor:
        """The skip connection after the gate."""
        return skip if self.gate is None else self.gate(x, skip)


class Concatenate(Merge):
    """The upsampled channels, then the skip connection's channels."""

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Concatenate (N, C, H, W) and (N, D, H, W) to (N, C + D, H, W)."""
        return torch.cat([x, self.gated(x, skip)], 1)


class Add(Merge):
    """The sum of the upsampled feature maps and the skip connection."""

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Add two tensors of shape (N, C, H, W)."""
        return x + self.gated(x, skip)


def concatenate(gate: Callable[..., nn.Module] | None = None) -> Skip:
    """The upsampled channels, then the skip connection's channels, as in the first U-Net.

    Args:
        gate: Function from the numbers of channels of the upsampled feature maps and of the skip
            connection to a module. The module takes both and returns the weighted skip connection.
            An example is the class `torchattn_blocks.AttentionGate`. None: no gate.

    Returns:
        Function from the two numbers of channels to the module.

    Raises:
        TypeError: When the module is made, if `gate` is not a function as above.

    Example:
        >>> from torchattn_blocks import AttentionGate, UNet, plain_stage
        >>> from torchattn_blocks.models import concatenate
        >>> model = UNet(1, 1, stage=plain_stage(), skip=concatenate(AttentionGate))
    """
    return _merged_by(Concatenate, "concatenate", gate)


def add(gate: Callable[..., nn.Module] | None = None) -> Skip:
    """The sum of upsampled feature maps and skip connection, as in LinkNet and residual U-Nets.

    Args:
        gate: See `concatenate`.

    Returns:
        Function from the two numbers of channels to the module.

    Raises:
        TypeError: When the module is made, if `gate` is not a function as above.

    Example:
        >>> from torchattn_blocks import UNet, plain_stage
        >>> from torchattn_blocks.models import add
        >>> model = UNet(1, 1, stage=plain_stage(), skip=add())
    """
    return _merged_by(Add, "add", gate)


def _merged_by(kind: type[Merge], owner: str, gate: Callable[..., nn.Module] | None) -> Skip:
    def make(up_channels: int, skip_channels: int, *, spatial_dims: int = 2) -> nn.Module:
        if gate is None:
            return kind(None)
        made = made_by(owner, "gate", gate, up_channels, skip_channels, spatial_dims=spatial_dims)
        return kind(made)

    return make
