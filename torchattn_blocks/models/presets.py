"""The three networks of the RSAN paper, and a plain U-Net to compare them with.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020 (arXiv
2009.08829), section 3 and tables 1-2. Widths, normalisation and initial weights follow the paper
and the authors' code.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from ..layers.attention.spatial import SpatialAttention
from ..layers.drop_block import Gamma, Scale, paper_drop_block
from ._memory import MemoryEfficient
from ._preset import Options, preset
from .stages import plain_stage, residual_stage, rsan_stage
from .upsampling import transposed


@preset
def unet(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    up_kernel_size: int = 2,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """A plain U-Net with the widths of `rsan`.

    Takes the arguments of `rsan`, except the ones for DropBlock and attention. Each stage is
    two times (convolution 3 x 3, batch normalisation, ReLU). The U-Net in the paper's tables is a
    different one, from other work.

    Example:
        >>> import torch
        >>> from torchattn_blocks import unet
        >>> unet()(torch.randn(1, 3, 40, 40)).shape
        torch.Size([1, 1, 40, 40])
    """
    return {"stage": plain_stage(inplace=inplace), "up": transposed(up_kernel_size)}


@preset
def backbone(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    up_kernel_size: int = 2,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """RSAN without attention and DropBlock: the paper's "Backbone", 996,583 parameters.

    Takes the arguments of `rsan`, except the ones for DropBlock and attention.

    Example:
        >>> from torchattn_blocks import backbone
        >>> sum(w.numel() for w in backbone().parameters())
        996583
    """
    return {"stage": residual_stage(inplace=inplace), "up": transposed(up_kernel_size)}


@preset
def backbone_dropblock(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    p: float = 0.15,
    block_size: int = 7,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    up_kernel_size: int = 2,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """RSAN without attention: the paper's "Backbone+DropBlock", 996,583 parameters.

    Takes the arguments of `rsan`, except `attention`.

    Example:
        >>> import torch
        >>> from torchattn_blocks import backbone_dropblock
        >>> backbone_dropblock(p=0.22)(torch.randn(1, 3, 40, 40)).shape
        torch.Size([1, 1, 40, 40])
    """
    drop = partial(paper_drop_block, p, block_size, gamma=gamma, scale=scale)
    return {"stage": residual_stage(drop=drop, inplace=inplace), "up": transposed(up_kernel_size)}


@preset
def rsan(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    p: float = 0.15,
    block_size: int = 7,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    attention: Callable[..., nn.Module] | None = SpatialAttention,
    up_kernel_size: int = 2,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """The Residual Spatial Attention Network, 997,269 parameters.

    From Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020
    (arXiv 2009.08829), "the paper" below. Each stage is `PreActResidual`, `RSAB`, batch
    normalisation, ReLU. Outputs are logits; `UNet.predict_proba` applies the sigmoid of the paper's
    last layer. For other stages see `UNet` and `rsan_stage`.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: 1 for two classes, otherwise one for each class.
        widths: Channels of each stage from the first down to the bottleneck, two or more.
        p: DropBlock's drop probability, ``1 - keep_prob``. In the paper it is 0.15 for DRIVE and
            0.22 for CHASE_DB1.
        block_size: Height and width of a dropped block.
        gamma: How DropBlock computes its gamma, see `DropBlock2d`; by default as in its paper.
        scale: DropBlock's factor for kept elements, see `DropBlock2d`; by default as in its paper.
        attention: Function from a number of channels to the attention layer of each stage, such as
            the class `CBAM`; by default `SpatialAttention`, as in the paper. None: no attention.
        up_kernel_size: Kernel size of the transposed convolutions: 2 as in the paper, or 3 as in
            the authors' code (1,051,029 parameters).
        inplace: Whether activations and DropBlock write into their input, which saves time in
            training. Full backward hooks then raise an error.
        deep_supervision: Whether training also gives logits of smaller sizes, see `UNet`.
        memory_efficient: What training keeps in memory for the backward pass, see `UNet`.
        spatial_dims: Dimensions after the channels: 1, 2 or 3. It is passed to `attention` if that
            has such a parameter, as all attention layers of this library do.

    Raises:
        TypeError: If a number of channels, `block_size` or `up_kernel_size` is not an int, or `p`
            is not a number.
        ValueError: If a number of channels or `block_size` is below 1, `widths` has fewer than two
            entries, `p` lies outside [0, 1], `gamma` or `scale` is unknown, `up_kernel_size` is
            below 2 or `spatial_dims` not 1, 2 or 3.

    Example:
        >>> import torch
        >>> from torchattn_blocks import rsan
        >>> model = rsan().eval()
        >>> sum(w.numel() for w in model.parameters())
        997269
        >>> model.predict_proba(torch.rand(1, 3, 57, 41)).shape
        torch.Size([1, 1, 57, 41])

        With another attention layer:

        >>> from torchattn_blocks import EfficientChannelAttention
        >>> model = rsan(attention=EfficientChannelAttention)
    """
    stage = rsan_stage(
        p=p,
        block_size=block_size,
        gamma=gamma,
        scale=scale,
        attention=attention,
        inplace=inplace,
    )
    return {"stage": stage, "up": transposed(up_kernel_size)}
