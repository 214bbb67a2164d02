"""The networks of the paper's comparison: its own three, and a plain U-Net.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020 (arXiv
2009.08829), section 3 and tables 1-2. Widths, normalisation and initial weights are those of the
paper and the authors' code.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch  # noqa: F401  (the examples use it)
from torch import nn

from .._init import glorot_uniform_, start_with
from ..layers.drop_block import paper_drop_block
from ..layers.residual import RSAB, PreActResidual
from .unet import UNet

_WIDTHS = (16, 32, 64, 128)
_norm = partial(nn.BatchNorm2d, eps=2e-5)


def unet(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = _WIDTHS,
    up_kernel_size: int = 2,
    inplace: bool = False,
) -> UNet:
    """The plain U-Net: stages of two (convolution 3 x 3, batch normalisation, ReLU).

    Not the paper's: the U-Net rows of its tables are taken from other work. This one has RSAN's U.

    Args:
        in_channels: As in `UNet`.
        out_channels: As in `UNet`.
        widths: As in `UNet`.
        up_kernel_size: As in `UNet`.
        inplace: As in `rsan`.

    Example:
        >>> unet()(torch.randn(1, 3, 40, 40)).shape
        torch.Size([1, 1, 40, 40])
    """
    stage = partial(_plain_stage, inplace=inplace)
    return UNet(
        in_channels, out_channels, widths=widths, block=stage, up_kernel_size=up_kernel_size
    )


def backbone(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = _WIDTHS,
    up_kernel_size: int = 2,
    inplace: bool = False,
) -> UNet:
    """RSAN without attention and DropBlock: the paper's "Backbone", 996,583 parameters.

    Args:
        in_channels: As in `UNet`.
        out_channels: As in `UNet`.
        widths: As in `UNet`.
        up_kernel_size: As in `UNet`.
        inplace: As in `rsan`.

    Example:
        >>> sum(w.numel() for w in backbone().parameters())
        996583
    """
    stage = partial(_residual_stage, second=PreActResidual, drop=None, inplace=inplace)
    return UNet(
        in_channels, out_channels, widths=widths, block=stage, up_kernel_size=up_kernel_size
    )


def backbone_dropblock(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = _WIDTHS,
    p: float = 0.15,
    block_size: int = 7,
    up_kernel_size: int = 2,
    inplace: bool = False,
) -> UNet:
    """RSAN without attention: the paper's "Backbone+DropBlock".

    Args:
        in_channels: As in `UNet`.
        out_channels: As in `UNet`.
        widths: As in `UNet`.
        p: As in `rsan`.
        block_size: As in `rsan`.
        up_kernel_size: As in `UNet`.
        inplace: As in `rsan`.

    Example:
        >>> backbone_dropblock(p=0.22)(torch.randn(1, 3, 40, 40)).shape
        torch.Size([1, 1, 40, 40])
    """
    drop = partial(paper_drop_block, p, block_size)
    stage = partial(_residual_stage, second=PreActResidual, drop=drop, inplace=inplace)
    return UNet(
        in_channels, out_channels, widths=widths, block=stage, up_kernel_size=up_kernel_size
    )


def rsan(
    in_channels: int = 3,
    out_channels: int = 1,
    *,
    widths: Sequence[int] = _WIDTHS,
    p: float = 0.15,
    block_size: int = 7,
    up_kernel_size: int = 2,
    inplace: bool = False,
) -> UNet:
    """The Residual Spatial Attention Network, 997,269 parameters.

    Each stage is `PreActResidual`, `RSAB`, batch normalisation, ReLU; DropBlock is the paper's
    (``gamma="paper", scale="batch"``). Outputs are logits; `UNet.predict_proba` applies the
    sigmoid of the paper's last layer.

    Args:
        in_channels: As in `UNet`.
        out_channels: As in `UNet`.
        widths: As in `UNet`.
        p: Fraction that DropBlock is asked to drop, ``1 - keep_prob``: 0.15 for DRIVE, 0.22 for
            CHASE_DB1 in the paper.
        block_size: Side of DropBlock's blocks in positions.
        up_kernel_size: 2 as the paper draws it, or 3 as in the authors' code (1,051,029
            parameters).
        inplace: Whether activations and DropBlocks write into their input: less memory and time in
            training, at the price of full backward hooks.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of bounds.

    Example:
        >>> model = rsan().eval()
        >>> sum(w.numel() for w in model.parameters())
        997269
        >>> model.predict_proba(torch.rand(1, 3, 57, 41)).shape
        torch.Size([1, 1, 57, 41])
    """
    drop = partial(paper_drop_block, p, block_size)
    stage = partial(_residual_stage, second=RSAB, drop=drop, inplace=inplace)
    return UNet(
        in_channels, out_channels, widths=widths, block=stage, up_kernel_size=up_kernel_size
    )


def _residual_stage(
    in_channels: int,
    out_channels: int,
    *,
    second: type[PreActResidual],
    drop: Callable[[], nn.Module] | None,
    inplace: bool,
) -> nn.Module:
    blocks = [
        PreActResidual(in_channels, out_channels, drop=drop, norm=_norm, inplace=inplace),
        second(out_channels, drop=drop, norm=_norm, inplace=inplace),
    ]
    for block in blocks:
        for child in block.children():  # not the attention's convolution, which has its own rule
            if isinstance(child, nn.Conv2d):
                start_with(glorot_uniform_, child)
    return nn.Sequential(*blocks, _norm(out_channels), nn.ReLU(inplace))


def _plain_stage(in_channels: int, out_channels: int, *, inplace: bool) -> nn.Module:
    return nn.Sequential(
        start_with(glorot_uniform_, nn.Conv2d(in_channels, out_channels, 3, padding=1)),
        _norm(out_channels),
        nn.ReLU(inplace),
        start_with(glorot_uniform_, nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        _norm(out_channels),
        nn.ReLU(inplace),
    )
