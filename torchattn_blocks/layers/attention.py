"""Spatial attention: a weight for every position of a feature map.

Woo, Park, Lee & Kweon, "CBAM: Convolutional block attention module", ECCV 2018, section 3;
Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, eq. 2-4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._check import check_at_least, check_map, plain_int
from .._init import he_normal_, start_with


def spatial_attention(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Multiply each position of `x` by a weight from the maximum and the mean over its channels.

    .. math:: y = x \cdot \sigma(w * [\max_c x;\; \mathrm{mean}_c\, x] + b)

    Here σ is the sigmoid, * a convolution that keeps height and width, and [ ; ] a concatenation
    along the channels. From Woo et al., "CBAM: Convolutional block attention module", ECCV 2018,
    section 3, and equations 2 to 4 of the RSAN paper.

    Args:
        x: Feature maps of shape (N, C, H, W).
        weight: Kernel of shape (1, 2, k, k), k odd: the first channel for the maximum, the second
            for the mean.
        bias: Bias of shape (1,), or None.

    Returns:
        A tensor with the shape, dtype and memory format of `x`.

    Raises:
        TypeError: If `x` is not a floating-point tensor.
        ValueError: If `x` does not have four dimensions or `weight` has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import spatial_attention
        >>> spatial_attention(torch.ones(1, 3, 4, 4), torch.zeros(1, 2, 7, 7)).unique()
        tensor([0.5000])
    """
    if has_torch_function_unary(x):  # an FX proxy records the call
        return handle_torch_function(spatial_attention, (x,), x, weight, bias)
    check_map(x, "spatial_attention")
    height, width = weight.shape[2:] if weight.dim() == 4 else (0, 0)
    if weight.shape[:2] != (1, 2) or height != width or height % 2 == 0:
        raise ValueError(
            "spatial_attention: weight must have shape (1, 2, k, k) with k odd, got "
            f"{tuple(weight.shape)}"
        )
    return x * F.conv2d(_summary(x), weight, bias, padding=height // 2).sigmoid()


def _summary(x: Tensor) -> Tensor:
    """Maximum and mean over channels, (N, C, H, W) -> (N, 2, H, W)."""
    return torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)


class SpatialAttention(nn.Module):
    """Multiply each position of a feature map by a weight between 0 and 1.

    The maximum and the mean over channels, concatenated in this order, go through a k x k
    convolution and a sigmoid. The result, the attention map, is multiplied with the input. The
    layer does the same in training and evaluation. From Woo et al., "CBAM: Convolutional block
    attention module", ECCV 2018, section 3.

    Args:
        kernel_size: Size k of the convolution, odd. With 7 and no bias the layer has exactly 98
            parameters.
        bias: Whether the convolution has a bias. In RSAN it has none.

    Shape:
        (N, C, H, W) in, for any C; the same out; dtype and memory format are kept.

    Raises:
        TypeError: If `kernel_size` is not an int or the input not a floating-point tensor.
        ValueError: If `kernel_size` is even or below 1, or the input does not have four dimensions.

    Note:
        The kernel is initialised by Keras' ``he_normal``, as in the RSAN authors' code. Some other
        implementations add a bias (99 parameters) or batch normalisation (100), and some
        concatenate the mean first.

    Example:
        >>> import torch
        >>> from torchattn_blocks import SpatialAttention
        >>> layer = SpatialAttention()
        >>> sum(w.numel() for w in layer.parameters())
        98
        >>> x = torch.randn(2, 16, 32, 32)
        >>> layer.attention_map(x).shape
        torch.Size([2, 1, 32, 32])
        >>> torch.equal(layer(x), x * layer.attention_map(x))
        True
    """

    def __init__(self, *, kernel_size: int = 7, bias: bool = False) -> None:
        super().__init__()
        check_at_least("SpatialAttention", 1, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"SpatialAttention: kernel_size must be odd, got {kernel_size}")
        kernel_size = plain_int(kernel_size)
        conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=bias)
        self.conv = start_with(he_normal_, conv)

    def attention_map(self, x: Tensor) -> Tensor:
        """The attention map of shape (N, 1, H, W); `forward` multiplies `x` by it."""
        check_map(x, "SpatialAttention")
        return self.conv(_summary(x)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` by its attention map."""
        return x * self.attention_map(x)
