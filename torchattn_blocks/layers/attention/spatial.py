"""Spatial attention: a weight for every position of a feature map.

Woo, Park, Lee & Kweon, "CBAM: Convolutional block attention module", ECCV 2018, section 3;
Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, eq. 2-4.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from ..._check import check_map, check_odd, options_by_name, plain
from ..._dims import CONVOLUTION
from ..._init import he_normal_, start_with
from ..._torch import Convolution, is_hooked
from .._eager import has_memory
from ._base import Attention, Device
from ._pool import max_and_mean


def spatial_attention(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Multiply each position of `x` by a weight from the maximum and the mean over its channels.

    .. math:: y = x \cdot \sigma(w * [\max_c x;\; \mathrm{mean}_c\, x] + b)

    Here σ is the sigmoid, * a convolution that keeps height and width, and [ ; ] a concatenation
    along the channels. From Woo et al., "CBAM: Convolutional block attention module", ECCV 2018,
    section 3, and equations 2 to 4 of the RSAN paper.

    Args:
        x: Feature maps of shape (N, C, H, W), or with one or three sizes instead of two.
        weight: Kernel of shape (1, 2, k, k), k odd, with as many sizes as `x` has: the first
            channel for the maximum, the second for the mean.
        bias: Bias of shape (1,), or None.

    Returns:
        A tensor with the shape, dtype and memory format of `x`.

    Raises:
        TypeError: If `x` is not a floating-point tensor.
        ValueError: If `weight` has another shape or `x` other dimensions.

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import spatial_attention
        >>> spatial_attention(torch.ones(1, 3, 4, 4), torch.zeros(1, 2, 7, 7)).unique()
        tensor([0.5000])
    """
    if has_torch_function_unary(x):  # an FX proxy records the call
        return handle_torch_function(spatial_attention, (x,), x, weight, bias)
    sizes = weight.shape[2:]
    if (
        weight.dim() not in (3, 4, 5)
        or weight.shape[:2] != (1, 2)
        or any(size != sizes[0] or size % 2 == 0 for size in sizes)
    ):
        raise ValueError(
            "spatial_attention: weight must have shape (1, 2, k, k) with k odd, or one or three "
            f"sizes k, got {tuple(weight.shape)}"
        )
    check_map("spatial_attention", x, spatial_dims=len(sizes))
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(sizes) - 1]
    logits = convolution(_summary(x), weight, bias, padding=sizes[0] // 2)
    return x * logits.sigmoid()


def _summary(x: Tensor, *, channels_last: bool = True) -> Tensor:
    """Maximum and mean over channels, (N, C, *size) -> (N, 2, *size)."""
    both = max_and_mean(x, (1,))
    if channels_last and has_memory(x) and x.device.type == "cpu":
        # Channels last in memory: this makes a convolution of two channels faster.
        return torch.stack([one.squeeze(1) for one in both], -1).movedim(-1, 1)
    return torch.cat(both, 1)


def _is_alone(conv: nn.Module) -> bool:
    """Whether this is torch's convolution without hooks.

    If not, it gets the input's memory layout: Opacus 1.6.0 misreads others, see `docs/tools.md`.
    """
    return isinstance(conv, Convolution) and not is_hooked(conv)


class SpatialAttention(Attention):
    r"""Multiply each position of a feature map by a weight between 0 and 1.

    .. math:: y = x \cdot \sigma(w * [\max_c x;\; \mathrm{mean}_c\, x])

    The maximum and the mean over channels, concatenated in this order, go through a k x k
    convolution and a sigmoid. The result is the attention map, which multiplies the input. From Woo
    et al., "CBAM: Convolutional block attention module", ECCV 2018, equation 3. The layer does the
    same in training and evaluation, unless it has batch normalisation as `norm`.

    Args:
        kernel_size: Size k of the convolution, odd.
        bias: Whether the convolution has a bias. RSAN has none.
        norm: Function from a number of channels, here 1, to a normalisation layer between
            convolution and sigmoid. RSAN has none.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        device: See `torch.nn.Conv2d`.
        dtype: See `torch.nn.Conv2d`.

    Shape:
        (N, C, H, W) in, or as many sizes as `spatial_dims` says, for any C; the same out; dtype and
        memory format are kept. The attention map has shape (N, 1, H, W).

    Parameters:
        2 k k, whatever C: 98 for k = 7; 99 with the bias, 100 with batch normalisation instead.

    Raises:
        TypeError: If a number is not an int or the input not a floating-point tensor.
        ValueError: If `kernel_size` is even or below 1, `spatial_dims` not 1, 2 or 3, or the input
            has other dimensions.

    Note:
        The kernel is initialised with Keras' ``he_normal``, as in the RSAN authors' code. The CBAM
        authors' code and timm add batch normalisation, many copies a bias. The maximum comes first
        here and in the CBAM authors' code. CBAM's equation 3, timm and the RSAN authors' code have
        the mean first. This only matters when you read weights: `torchattn_blocks.convert` swaps
        the two.

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

    @options_by_name
    def __init__(
        self,
        *,
        kernel_size: int = 7,
        bias: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
        spatial_dims: int = 2,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spatial_dims)
        check_odd("SpatialAttention", kernel_size=kernel_size)
        kernel_size = plain(kernel_size)
        conv = CONVOLUTION[self.spatial_dims](
            2, 1, kernel_size, padding=kernel_size // 2, bias=bias, device=device, dtype=dtype
        )
        self.conv = start_with(he_normal_, conv)
        self.norm = (
            nn.Identity()
            if norm is None
            else self.child("norm", norm, 1, device=device, dtype=dtype)
        )

    def weigh(self, x: Tensor) -> Tensor:
        """A weight for each position, (N, 1, H, W)."""
        summary = _summary(x, channels_last=_is_alone(self.conv))
        weights: Tensor = self.norm(self.conv(summary)).sigmoid()
        return weights
