"""SimAM: a weight for every element from how far it is from its channel's mean.

Yang, Zhang, Li & Xie, "SimAM: A simple, parameter-free attention module for convolutional neural
networks", ICML 2021.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..._check import check_numbers, options_by_name, plain
from ._base import Attention
from ._product import keeps


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
        tensor([[[[0.6370, 0.6370],
                  [0.6370, 0.7432]]]])
    """

    @options_by_name
    def __init__(self, *, eps: float = 1e-4, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        check_numbers(type(self).__name__, 0, ends="()", eps=eps)
        self.eps = plain(eps)

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each element, (N, C, H, W)."""
        distance, factor = _distance_and_factor(x, self.spatial_axes, self.eps)
        return (distance * distance * factor + 0.5).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        self.check(x)
        if keeps(x):
            out: Tensor = _SimAM.apply(x, self.spatial_axes, self.eps)  # type: ignore[no-untyped-call]
            return out
        return x * self.weigh(x)

    def extra_repr(self) -> str:
        """The options."""
        return f"eps={self.eps:g}, {super().extra_repr()}"


def _distance_and_factor(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """The distance of each element from the mean, and 1 / (4 (v + eps)) for each channel."""
    distance = x - x.mean(axes, keepdim=True)
    positions = math.prod(x.shape[axis] for axis in axes)
    # A sum of squares would overflow in float16.
    variance = (distance * distance).mean(axes, keepdim=True) * (positions / _others(positions))
    return distance, 0.25 / (variance + eps)


def _others(positions: Any) -> Any:
    """All positions but one, or 1 if there is one."""
    return torch.sym_max(1, positions - 1)  # type: ignore[no-untyped-call]


class _SimAM(torch.autograd.Function):
    """Keeps the input alone, where torch would keep three tensors of its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.options = axes, eps
        distance, factor = _distance_and_factor(x, axes, eps)
        return distance.square_().mul_(factor).add_(0.5).sigmoid_().mul_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        axes, eps = ctx.options
        distance, factor = _distance_and_factor(x, axes, eps)
        weights = torch.addcmul(distance.new_tensor(0.5), distance * factor, distance).sigmoid()
        # The gradient of the logit, times the distance: twice the factor times it is that of the
        # distance with the variance held.
        slope = torch.ops.aten.sigmoid_backward(grad * x, weights) * distance
        positions = math.prod(x.shape[axis] for axis in axes)
        of_variance = -4 * factor * factor * (slope * distance).mean(axes, keepdim=True)
        through_mean = 2 * factor * slope.mean(axes, keepdim=True)
        by_distance = of_variance * (2 * positions / _others(positions))
        out = torch.addcmul(grad * weights, slope, 2 * factor) + by_distance * distance
        return out - through_mean, None, None
