"""Networks from other papers: SD-Unet and SA-UNet of RSAN's authors, and Attention U-Net.

Guo et al., "SD-Unet: A structured dropout U-Net for retinal vessel segmentation", BIBE 2019; Guo et
al., "SA-UNet: Spatial attention U-Net for retinal vessel segmentation", ICPR 2020 (arXiv
2004.03696); Oktay et al., "Attention U-Net: Learning where to look for the pancreas", MIDL 2018.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from .._factory import made_by
from ..layers.attention.gate import AttentionGate
from ..layers.attention.spatial import SpatialAttention
from ..layers.drop_block import Gamma, Scale, paper_drop_block
from ..layers.residual import batch_norm
from ._memory import MemoryEfficient
from ._preset import Options, preset
from .stages import plain_stage
from .upsampling import transposed, upsample

# The authors' code normalises with Keras' defaults. Keras' momentum of .99 is torch's .01.
keras_norm = partial(batch_norm, eps=1e-3, momentum=0.01)


@preset
def sd_unet(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    p: float = 0.1,
    block_size: int = 7,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    up_kernel_size: int = 3,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """SD-Unet, a U-Net with DropBlock, as its authors build it: 535,793 parameters.

    From Guo et al., "SD-Unet: A structured dropout U-Net for retinal vessel segmentation", BIBE
    2019. Each stage is two times (convolution 3 x 3, DropBlock, ReLU), without normalisation.

    Takes the arguments of `rsan`, except `attention`. By default `p` is 0.1 and
    `up_kernel_size` 3, as in the code of SA-UNet by the same authors.

    Example:
        >>> from torchattn_blocks.models import sd_unet
        >>> sum(w.numel() for w in sd_unet().parameters())
        535793
    """
    drop = partial(paper_drop_block, p, block_size, gamma=gamma, scale=scale)
    return {
        "stage": plain_stage(drop=drop, norm=None, inplace=inplace),
        "up": transposed(up_kernel_size),
    }


@preset
def sa_unet(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    p: float = 0.1,
    block_size: int = 7,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    attention: Callable[..., nn.Module] | None = SpatialAttention,
    up_kernel_size: int = 3,
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """SA-UNet, with spatial attention in the bottleneck, as its authors build it.

    From Guo et al., "SA-UNet: Spatial attention U-Net for retinal vessel segmentation", ICPR 2020
    (arXiv 2004.03696). It has 537,299 parameters. Each stage is two times (convolution 3 x 3,
    DropBlock, batch normalisation, ReLU); in the bottleneck, the attention comes between the two.
    Batch normalisation has the eps and momentum of Keras, 1e-3 and 0.01 in torch's terms: the
    running statistics take some hundred steps to match the images.

    Takes the arguments of `rsan`. Without attention (None) it is the authors' "Backbone",
    537,201 parameters. The authors' scripts train with `p` 0.18 on DRIVE and 0.13 on CHASE_DB1; 0.1
    is the default of their code.

    Example:
        >>> from torchattn_blocks.models import sa_unet
        >>> sum(w.numel() for w in sa_unet().parameters())
        537299
    """
    drop = partial(paper_drop_block, p, block_size, gamma=gamma, scale=scale)
    stage = partial(plain_stage, drop=drop, norm=keras_norm, inplace=inplace)

    def attended(in_channels: int, out_channels: int, *, spatial_dims: int) -> nn.Module:
        half = partial(stage(convolutions=1), spatial_dims=spatial_dims)
        layers = [half(in_channels, out_channels), half(out_channels, out_channels)]
        if attention is not None:
            made = made_by(
                "sa_unet", "attention", attention, out_channels, spatial_dims=spatial_dims
            )
            layers.insert(1, made)
        return nn.Sequential(*layers)

    return {"stage": stage(), "bottleneck": attended, "up": transposed(up_kernel_size)}


@preset
def attention_unet(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    inplace: bool = False,
    deep_supervision: bool | int = False,
    memory_efficient: MemoryEfficient = False,
    spatial_dims: int = 2,
) -> Options:
    """Attention U-Net, with a gate on each skip connection.

    From Oktay et al., "Attention U-Net: Learning where to look for the pancreas", MIDL 2018. It has
    34,876,165 parameters. Each stage is two times (convolution 3 x 3, batch normalisation, ReLU).
    To upsample, feature maps are repeated to twice their size and go through one convolution, batch
    normalisation and ReLU. The result is the gate of the skip connection's `AttentionGate`.

    Takes the arguments of `rsan`, except the ones for DropBlock, attention and transposed
    convolutions.

    Note:
        The PyTorch version that most copies go back to, ``AttU_Net``, has 34,878,573 parameters.
        Its gates have batch normalisation after each of their three convolutions, and one bias
        more: 5 H + 2 for H hidden channels, 2,408 in all. It concatenates in the other order, and
        starts from other initial weights. Everything else is equal. In the paper the gating signal
        is the smaller feature maps, before they are upsampled.

    Example:
        >>> import torch
        >>> from torchattn_blocks.models import attention_unet
        >>> model = attention_unet(widths=(8, 16, 32))
        >>> model(torch.randn(1, 3, 50, 40)).shape
        torch.Size([1, 1, 50, 40])
    """
    stage = partial(plain_stage, norm=batch_norm, inplace=inplace)

    def up(
        in_channels: int, out_channels: int, *, stride: tuple[int, ...], spatial_dims: int
    ) -> nn.Module:
        repeat = upsample("nearest", kernel_size=None)
        follow = stage(convolutions=1)
        return nn.Sequential(
            repeat(in_channels, in_channels, stride=stride, spatial_dims=spatial_dims),
            *follow(in_channels, out_channels, spatial_dims=spatial_dims).children(),
        )

    return {"stage": stage(), "up": up, "skip": AttentionGate}
