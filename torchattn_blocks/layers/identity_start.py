"""A layer that starts as the identity.

After Bachlechner et al., "ReZero is all you need: fast convergence at large depth", UAI 2021, who
start residual branches at zero.
"""

import torch
from torch import Tensor, nn

from .._check import check_kind


class IdentityStart(nn.Module):
    r"""A layer that starts as the identity and learns how much to use another layer.

    .. math:: y = x + \alpha\,(f(x) - x)

    f is the other layer and α a parameter that starts at 0, so the output equals the input if f(x)
    - x is finite. If you insert such layers into a pretrained network, it gives the same outputs as
    before. (If x has unusual strides, y has different ones, and later operators may round
    differently.) From the idea of Bachlechner et al., "ReZero is all you need", UAI 2021. In
    training and evaluation the layer does what f does.

    Args:
        layer: f, a module whose output has the shape and dtype of its input, such as an attention
            layer.

    Shape:
        The same as the other layer's, in and out.

    Parameters:
        One more than the other layer's.

    Raises:
        TypeError: If `layer` is not a module.
        ValueError: If `layer` returns a shape that differs from its input's.

    Note:
        At first only α has a nonzero gradient; the weights of f change once α has changed. Do not
        apply weight decay to α: it is a scale.

    Example:
        >>> import torch
        >>> from torchattn_blocks import CBAM, IdentityStart
        >>> layer, x = IdentityStart(CBAM(32)), torch.randn(1, 32, 8, 8)
        >>> torch.equal(layer(x), x)
        True
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        check_kind("IdentityStart", nn.Module, layer=layer)
        self.layer = layer
        self.alpha = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity again."""
        nn.init.zeros_(self.alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + α (f(x) - x)``."""
        y = self.layer(x)
        if isinstance(y, Tensor) and y.shape != x.shape:  # an FX proxy has no shape to compare
            raise ValueError(
                f"IdentityStart: layer must return the shape of its input, {tuple(x.shape)}, got "
                f"{tuple(y.shape)} from {type(self.layer).__name__}"
            )
        return x + self.alpha.to(x.dtype) * (y - x)
