"""SimAM: a weight for every element, from its distance to its channel's mean.

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

    μ and v are mean and variance over all positions of a channel; the divisor of v is the number of
    positions minus one. From Yang et al., "SimAM: A simple, parameter-free attention module for
    convolutional neural networks", ICML 2021, equations 5 and 6. The layer has no parameters and
    does the same in training and evaluation. In half precision it computes in float32.

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
        An element far below the mean gets the same weight as one far above it. The divisor of v
        follows the authors' code; in the paper it is the number of positions. On a feature map of
        one position, the authors' code divides zero by zero; here the weight is 0.62.

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
        distance, factor = _distance_and_factor(_wide(x), self.spatial_axes, self.eps)
        return _weights(distance, factor)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        self.check(x)
        if keeps(x):
            out: Tensor = _SimAM.apply(x, self.spatial_axes, self.eps)  # type: ignore[no-untyped-call]
            return out
        return x * self.attention_map(x)

    def extra_repr(self) -> str:
        """The options."""
        return f"eps={self.eps:g}, {super().extra_repr()}"


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: float16 overflows in squares and in quotients by small variances."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _distance_and_factor(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """The distance of each element from the mean, and 1 / (4 (v + eps)) of each channel."""
    distance = x - x.mean(axes, keepdim=True)
    variance = (distance * distance).mean(axes, keepdim=True) * _correction(x, axes)
    return distance, 0.25 / (variance + eps)


def _weights(distance: Tensor, factor: Tensor) -> Tensor:
    return torch.addcmul(distance.new_tensor(0.5), distance * factor, distance).sigmoid()


def _correction(x: Tensor, axes: tuple[int, ...]) -> Any:
    """The ratio n / (n - 1) for n positions; for one, whose variance is 0, a finite number."""
    positions = math.prod([x.shape[axis] for axis in axes])
    return positions / (positions - 1 + 1e-30)


class _SimAM(torch.autograd.Function):
    """Keeps only the input; torch would keep three tensors of its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.options = axes, eps
        distance, factor = _distance_and_factor(_wide(x), axes, eps)
        return distance.square_().mul_(factor).add_(0.5).sigmoid_().mul_(x).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        axes, eps = ctx.options
        values, grad = _wide(x), _wide(grad)
        distance, factor = _distance_and_factor(values, axes, eps)
        weights = _weights(distance, factor)
        # The gradient of the logit times the distance: 2 factor times it reaches the distance
        # directly. Its mean goes through the input's mean, the rest through the variance.
        slope = torch.ops.aten.sigmoid_backward(grad * values, weights) * distance
        of_factor = (slope * distance).mean(axes, keepdim=True)
        through_variance = -8 * _correction(x, axes) * factor * factor * of_factor
        out = torch.addcmul(grad * weights, slope, 2 * factor)
        out = torch.addcmul(out, distance, through_variance)
        through_mean = 2 * factor * slope.mean(axes, keepdim=True)
        return (out - through_mean).to(x.dtype), None, None
