"""Stage factories: functions that return the stages of a `UNet`.

A stage keeps height and width. Each factory initialises its convolutions as Keras does: Glorot
uniform, zero bias. Normalisation has the eps of the RSAN authors' code.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, figure 4.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from .._init import glorot_uniform_, start_with
from ..layers.drop_block import paper_drop_block
from ..layers.residual import RSAB, PreActResidual, spatial_attention_slot, write_in_place

Stage = Callable[[int, int], nn.Module]


def batch_norm(channels: int) -> nn.Module:
    """Batch normalisation with the eps of the RSAN authors' code, 2e-5."""
    return nn.BatchNorm2d(channels, eps=2e-5)


def plain_stage(
    *,
    norm: Callable[[int], nn.Module] = batch_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    inplace: bool = False,
) -> Stage:
    """Two times (convolution 3 x 3, normalisation, activation): the stage of a plain U-Net.

    Args:
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code.
        activation: Function without arguments that returns an activation.
        inplace: Whether activations write into their input, see `torchattn_blocks.PreActResidual`.

    Returns:
        Function from the numbers of input and output channels to the stage.

    Example:
        >>> from torchattn_blocks import UNet, plain_stage
        >>> model = UNet(1, 2, widths=(8, 16), stage=plain_stage())
    """

    def make(in_channels: int, out_channels: int) -> nn.Module:
        stage = nn.Sequential(
            _conv(in_channels, out_channels),
            norm(out_channels),
            activation(),
            _conv(out_channels, out_channels),
            norm(out_channels),
            activation(),
        )
        if inplace:
            write_in_place(*stage)
        return stage

    return make


def residual_stage(
    *,
    drop: Callable[[], nn.Module] | None = None,
    attention: Callable[[int], nn.Module] | None = None,
    norm: Callable[[int], nn.Module] = batch_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    inplace: bool = False,
) -> Stage:
    """Two pre-activation residual blocks, normalisation, activation.

    Both blocks are `PreActResidual`, as in the paper's backbone. With `attention`, the second is an
    `RSAB`.

    Args:
        drop: See `torchattn_blocks.PreActResidual`; by default no dropout.
        attention: Function from a number of channels to the attention layer of the second block.
            None: no attention.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code.
        activation: See `torchattn_blocks.PreActResidual`.
        inplace: See `torchattn_blocks.PreActResidual`.

    Returns:
        Function from the numbers of input and output channels to the stage.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import UNet, residual_stage
        >>> stage = residual_stage(drop=lambda: nn.Dropout2d(0.1), activation=nn.SiLU)
        >>> model = UNet(1, 2, widths=(8, 16), stage=stage)
    """

    def make(in_channels: int, out_channels: int) -> nn.Module:
        first = PreActResidual(
            in_channels, out_channels, drop=drop, norm=norm, activation=activation, inplace=inplace
        )
        second = (
            PreActResidual(
                out_channels, drop=drop, norm=norm, activation=activation, inplace=inplace
            )
            if attention is None
            else RSAB(
                out_channels,
                attention=attention,
                drop=drop,
                norm=norm,
                activation=activation,
                inplace=inplace,
            )
        )
        for block in (first, second):
            for child in block.children():  # the attention's convolution has its own rule
                if isinstance(child, nn.Conv2d):
                    start_with(glorot_uniform_, child)
        stage = nn.Sequential(first, second, norm(out_channels), activation())
        if inplace:
            write_in_place(stage[-1])
        return stage

    return make


def rsan_stage(
    *,
    p: float = 0.15,
    block_size: int = 7,
    attention: Callable[[int], nn.Module] = spatial_attention_slot,
    norm: Callable[[int], nn.Module] = batch_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    inplace: bool = False,
) -> Stage:
    """`PreActResidual`, `RSAB`, normalisation, activation: the stage of RSAN (paper, figure 4).

    DropBlock is the paper's, ``gamma="paper", scale="batch"``.

    Args:
        p: DropBlock's drop probability, ``1 - keep_prob``.
        block_size: Height and width of a dropped block.
        attention: See `torchattn_blocks.RSAB`.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code.
        activation: See `torchattn_blocks.PreActResidual`.
        inplace: See `torchattn_blocks.PreActResidual`.

    Returns:
        Function from the numbers of input and output channels to the stage.

    Example:
        >>> from torchattn_blocks import UNet, rsan_stage
        >>> model = UNet(3, 1, widths=(8, 16), stage=rsan_stage(p=0.1))
    """
    return residual_stage(
        drop=partial(paper_drop_block, p, block_size),
        attention=attention,
        norm=norm,
        activation=activation,
        inplace=inplace,
    )


def _conv(in_channels: int, out_channels: int) -> nn.Module:
    return start_with(glorot_uniform_, nn.Conv2d(in_channels, out_channels, 3, padding=1))
