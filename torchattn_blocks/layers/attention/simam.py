"""SimAM: a weight for every element from how far it is from its channel's mean.

Yang, Zhang, Li & Xie, "SimAM: A simple, parameter-free attention module for convolutional neural
networks", ICML 2021.
"""

import math

import torch
from torch import Tensor

from ..._check import check_numbers, options_by_name, plain
from ._base import Attention


def _size(x: Tensor, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


class SimAM(Attention):
    r"""Multiply each element by a weight that grows with its distance from its channel's mean.

    .. math:: y = x \cdot \sigma\left(\frac{(x - \mu)^2}{4 (v + \lambda)} + \frac12\right)

    μ and v are mean and variance over all positions of a channel, v with one less than the number
    of positions as its divisor. From Yang et al., "SimAM: A simple, parameter-free attention module
    for convolutional neural networks", ICML 2021, equations 5 and 6. The layer has no parameters
    and does the same in training and evaluation.

    Args:
        eps: The paper's λ, above 0.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says, for any C; the same out; dtype and
        memory format are kept. The attention map has the shape of the input, and its values lie
        between 0.62, for elements at the mean, and 1.

    Parameters:
        None.

    Raises:
        TypeError: If a number is of another kind or the input not a floating-point tensor.
        ValueError: If `eps` is not above 0, `spatial_dims` not 1, 2 or 3, or the input has other
            dimensions.

    Note:
        An element far below the mean gets the same weight as one far above it. On a feature map of
        one position, where the authors' code divides zero by zero, the weight is 0.62.

    Example:
        >>> import torch
        >>> from torchattn_blocks import SimAM
        >>> layer = SimAM()
        >>> x = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]])
        >>> layer.attention_map(x)
        tensor([[[[0.6318, 0.6318],
                  [0.6318, 0.7773]]]])
    """

    @options_by_name
    def __init__(self, *, eps: float = 1e-4, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        check_numbers(type(self).__name__, 0, ends="()", eps=eps)
        self.eps = plain(eps)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        axes = self.spatial_axes
        distance = x - x.mean(axes, keepdim=True)
        squares = distance * distance
        others = torch.sym_max(1, _size(x, axes) - 1)  # type: ignore[no-untyped-call]
        variance = squares.sum(axes, keepdim=True) / others
        return (squares / (4 * (variance + self.eps)) + 0.5).sigmoid()

    def extra_repr(self) -> str:
        """The options."""
        return f"eps={self.eps:g}, {super().extra_repr()}"
