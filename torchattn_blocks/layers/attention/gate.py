"""The attention gate: the decoder's features select what passes through a skip connection.

Oktay et al., "Attention U-Net: Learning where to look for the pancreas", MIDL 2018.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from ..._check import check_ints, check_map, check_spatial_dims, options_by_name, plain
from ..._dims import CONVOLUTION, LINEAR
from ._base import Device


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Return `x`, interpolated linearly if its size differs from the size of `like`."""
    if has_torch_function_unary(x):  # an FX proxy, whose sizes are not known, records the call
        return handle_torch_function(resized, (x,), x, like)
    size = like.shape[2:]
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode=LINEAR[len(size)], align_corners=False)


class AttentionGate(nn.Module):
    r"""Multiply a skip connection by a weight for each position, computed with a gating signal.

    .. math:: y = x \cdot \sigma(\psi\, \delta(W_x x + W_g g + b_g) + b_\psi)

    x are the skip connection's feature maps, g the gate's; all weights are 1 x 1 convolutions, δ is
    the ReLU, σ the sigmoid. From Oktay et al., "Attention U-Net: Learning where to look for the
    pancreas", MIDL 2018, equations 1 and 2. The layer does the same in training and evaluation.

    Args:
        gate_channels: Channels of the gate.
        skip_channels: Channels C of the skip connection.
        hidden_channels: Channels H of the sum; by default half of C, and at least 1.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Conv2d`.
        dtype: See `torch.nn.Conv2d`.

    Shape:
        ``layer(gate, skip)`` takes (N, gate_channels, \*, \*) and (N, C, H, W), or as many sizes as
        `spatial_dims` says. The gate may have any size: it is interpolated linearly after its
        convolution. The output is (N, C, H, W), with the dtype and memory format of `skip`. The
        attention map has shape (N, 1, H, W).

    Parameters:
        H (G + C + 2) + 1, where G = `gate_channels`.

    Raises:
        TypeError: If a number is not an int or an input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, an input has other dimensions or
            channels, or the two have batches of different sizes.

    Note:
        The paper reduces the skip connection to the size of the gate and enlarges the map again.
        MONAI and most copies of the layer take only gates of the same size, and add batch
        normalisation after each convolution. On CUDA the gradient of the interpolation is not
        deterministic, unless `torch.use_deterministic_algorithms` is on.

    Example:
        >>> import torch
        >>> from torchattn_blocks import AttentionGate
        >>> layer = AttentionGate(128, 64)
        >>> gate, skip = torch.randn(1, 128, 10, 10), torch.randn(1, 64, 20, 20)
        >>> layer(gate, skip).shape, layer.attention_map(gate, skip).shape
        (torch.Size([1, 64, 20, 20]), torch.Size([1, 1, 20, 20]))
    """

    @options_by_name
    def __init__(
        self,
        gate_channels: int,
        skip_channels: int,
        *,
        hidden_channels: int | None = None,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        owner = "AttentionGate"
        check_ints(owner, 1, gate_channels=gate_channels, skip_channels=skip_channels)
        if hidden_channels is None:
            hidden_channels = max(1, skip_channels // 2)
        check_ints(owner, 1, hidden_channels=hidden_channels)
        check_spatial_dims(owner, spatial_dims)
        gate_channels, skip_channels, hidden_channels, self.spatial_dims = map(
            plain, (gate_channels, skip_channels, hidden_channels, spatial_dims)
        )
        convolution = partial(CONVOLUTION[self.spatial_dims], device=device, dtype=dtype)
        self.gate_conv = convolution(gate_channels, hidden_channels, 1)
        self.skip_conv = convolution(skip_channels, hidden_channels, 1, bias=False)
        self.psi = convolution(hidden_channels, 1, 1)

    def attention_map(self, gate: Tensor, skip: Tensor) -> Tensor:
        """A weight for each position, (N, 1, H, W); `forward` multiplies `skip` by it."""
        for name, x, conv in (("gate", gate, self.gate_conv), ("skip", skip, self.skip_conv)):
            channels = getattr(conv, "in_channels", None)  # pruning changes them
            check_map("AttentionGate", x, channels, self.spatial_dims, name)
        _check_batches(gate, skip)
        gating = resized(self.gate_conv(gate), skip)
        weights: Tensor = self.psi((gating + self.skip_conv(skip)).relu()).sigmoid()
        return weights.to(skip.dtype)

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        """Multiply `skip` by its attention map."""
        return skip * self.attention_map(gate, skip)


def _check_batches(gate: Tensor, skip: Tensor) -> None:
    """Raise if a product would broadcast one of the two batches. FX proxies pass."""
    if isinstance(gate, Tensor) and isinstance(skip, Tensor) and gate.shape[0] != skip.shape[0]:
        batch = f"{skip.shape[0]}, got {gate.shape[0]}"
        raise ValueError(f"AttentionGate: gate must have the batch size of skip, {batch}")
