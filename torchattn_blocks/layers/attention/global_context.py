"""Global context: a summary of the whole feature map, given to each position.

Cao, Xu, Lin, Wei & Hu, "GCNet: Non-local networks meet squeeze-excitation networks and beyond",
ICCV workshops 2019.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..._check import check_choice, options_by_name
from ..._dims import CONVOLUTION
from ..._init import start_with
from ._base import Attention, Device

Fusion = Literal["add", "scale"]
FUSIONS = ("add", "scale")


class GlobalContext(Attention):
    r"""Add to each channel, or multiply it by, a number computed from a weighted mean of positions.

    .. math:: y = x + W_2\, \delta(\mathrm{LN}(W_1 \sum_j a_j x_j + b_1)) + b_2, \qquad
        a = \mathrm{softmax}(w^\top x + b)

    The softmax is over all positions j: the layer learns which positions matter. LN is layer
    normalisation, δ the ReLU. With ``fusion="scale"`` the sum is a product, as in
    squeeze-and-excitation: :math:`y = x \cdot \sigma(W_2 \ldots + b_2)`. From Cao et al., "GCNet:
    Non-local networks meet squeeze-excitation networks and beyond", ICCV workshops 2019, equation
    5. The layer does the same in training and evaluation.

    Args:
        channels: Channels C of the input.
        fusion: ``"add"``, as in the paper's block, or ``"scale"``, as in timm by default.
        reduction: Ratio of C to the channels between the two linear layers, which are at least 8.
        hidden_channels: Channels between the two linear layers, instead of `reduction`.
        norm: Function from a number of channels to the normalisation after the first linear layer.
            None: no normalisation.
        activation: Function without arguments that returns δ.
        gate: Function without arguments that returns σ, only for ``fusion="scale"``; by default the
            sigmoid.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Linear`.
        dtype: See `torch.nn.Linear`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says; the same out; dtype and memory
        format are kept. The attention map has shape (N, 1, H, W). As in the paper, it holds the
        weights :math:`a` of the positions, which sum to 1. The output is not the input times this
        map.

    Parameters:
        2 C H + 2 C + 3 H + 1, where H = max(8, C // `reduction`).

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, `fusion` is not one of the
            strings above, `gate` is given without ``fusion="scale"``, or the input has other
            dimensions or channels.

    Note:
        With ``fusion="add"`` the second linear layer starts at zero, as in the authors' code, so
        the layer starts as the identity. H has a lower bound because layer normalisation removes
        all information from one hidden channel and leaves only a sign from two. The paper has 256
        channels or more and does not need this bound. timm's ``GlobalContext`` has
        ``fusion="scale"`` and a reduction of 8 by default.

    Example:
        >>> import torch
        >>> from torchattn_blocks import GlobalContext
        >>> layer = GlobalContext(64)
        >>> x = torch.randn(2, 64, 32, 32)
        >>> layer(x).shape, layer.attention_map(x).shape
        (torch.Size([2, 64, 32, 32]), torch.Size([2, 1, 32, 32]))
        >>> sum(w.numel() for w in layer.parameters())
        1177
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        fusion: Fusion = "add",
        reduction: int = 16,
        hidden_channels: int | None = None,
        norm: Callable[[int], nn.Module] | None = nn.LayerNorm,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] | None = None,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        owner, channels = type(self).__name__, self.checked(channels)
        check_choice(owner, FUSIONS, fusion=fusion)
        hidden = self.hidden(channels, reduction, hidden_channels, least=8)
        self.fusion: Fusion = fusion
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        flat: dict[str, Any] = {"spatial_dims": 1}
        self.conv = CONVOLUTION[self.spatial_dims](channels, 1, 1, **place)
        self.fc1 = nn.Linear(channels, hidden, **place)
        self.norm = (
            nn.Identity() if norm is None else self.child("norm", norm, hidden, **flat, **place)
        )
        self.activation = self.child("activation", activation, **place)
        self.fc2 = nn.Linear(hidden, channels, **place)
        if fusion == "add":
            if gate is not None:
                raise ValueError(f'{owner}: gate must not be given with fusion="add", got {gate!r}')
            start_with(nn.init.zeros_, self.fc2)
            gate = nn.Identity
        self.gate = self.child("gate", nn.Sigmoid if gate is None else gate, **place)

    @property
    def channels(self) -> int | None:
        """The channels that the first linear layer takes now. None if unknown."""
        return getattr(self.fc1, "in_features", None)

    multiplies_by_map = False

    def attention_map(self, x: Tensor) -> Tensor:
        """The weights of the positions in the context, which sum to 1."""
        return super().attention_map(x)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each position, (N, 1, H, W), which sum to 1."""
        logits = self.conv(x)
        return logits.flatten(2).softmax(-1).view_as(logits)

    def forward(self, x: Tensor) -> Tensor:
        """Add the transformed context to `x`, or multiply the two."""
        weights = self.attention_map(x).flatten(2)  # (N, 1, H W)
        context = (x.flatten(2) @ weights.mT)[..., 0]  # (N, C)
        context = self.fc2(self.activation(self.norm(self.fc1(context))))
        change = self.as_map(self.gate(context)).to(x.dtype)
        return x + change if self.fusion == "add" else x * change

    def extra_repr(self) -> str:
        """The options that the children do not show."""
        return f"fusion={self.fusion!r}, {super().extra_repr()}"
