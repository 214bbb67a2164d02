"""Stage factories: functions that return the stages of a `UNet`.

A stage keeps height and width. Each factory initialises its convolutions as Keras does: Glorot
uniform, zero bias. Normalisation has the eps of the RSAN authors' code.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, figure 4.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from .._check import check_ints, check_spatial_dims
from .._dims import CONVOLUTION, Size, check_size
from .._factory import made_by
from .._init import glorot_uniform_, start_with
from ..layers.attention.spatial import SpatialAttention
from ..layers.drop_block import Gamma, Scale, paper_drop_block
from ..layers.residual import (
    RSAB,
    PreActResidual,
    batch_norm,
    write_in_place,
)
from ._conv import same_conv

Stage = Callable[..., nn.Module]
authors_norm = partial(batch_norm, eps=2e-5)


def plain_stage(
    *,
    drop: Callable[..., nn.Module] | None = None,
    attention: Callable[..., nn.Module] | None = None,
    norm: Callable[..., nn.Module] | None = authors_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    convolutions: int = 2,
    kernel_size: Size = 3,
    dilation: Size = 1,
    bias: bool = True,
    inplace: bool = False,
    spatial_dims: int = 2,
) -> Stage:
    """Two times (convolution 3 x 3, normalisation, activation): the stage of a plain U-Net.

    Args:
        drop: Function without arguments that returns the dropout layer after each convolution.
            None: no dropout.
        attention: Function from a number of channels to an attention layer at the end of the stage.
            None: no attention.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code. None: no normalisation.
        activation: Function without arguments that returns an activation.
        convolutions: Number of convolutions, each with dropout, normalisation and activation.
        kernel_size: Size of the kernels, odd, one number or one for each axis.
        dilation: Dilation of the kernels, one number or one for each axis.
        bias: Whether the convolutions have a bias.
        inplace: Whether activations and dropout write into their input, see
            `torchattn_blocks.PreActResidual`.
        spatial_dims: Dimensions after the channels, 1, 2 or 3, if you make the stage yourself. A
            `UNet` passes its own.

    Returns:
        Function from the numbers of input and output channels to the stage. Its convolutions have
        the same names in the state dict with and without dropout, normalisation and attention.

    Raises:
        TypeError: If a number is not an int, or, when a stage is made, `drop`, `attention`, `norm`
            or `activation` is not a function as above.
        ValueError: If a number is below 1 or `kernel_size` even.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import CBAM, UNet, plain_stage
        >>> stage = plain_stage(drop=lambda: nn.Dropout2d(0.1), attention=CBAM, bias=False)
        >>> model = UNet(1, 2, widths=(8, 16), stage=stage)
    """
    owner = "plain_stage"
    check_ints(owner, 1, convolutions=convolutions)
    check_size(owner, "kernel_size", kernel_size, odd=True)
    check_size(owner, "dilation", dilation)
    check_spatial_dims(owner, spatial_dims)

    def make(in_channels: int, out_channels: int, *, spatial_dims: int = spatial_dims) -> nn.Module:
        made = partial(made_by, owner, spatial_dims=spatial_dims)
        stage = nn.Sequential()
        for i in range(convolutions):
            conv = same_conv(
                owner,
                in_channels if i == 0 else out_channels,
                out_channels,
                kernel_size=kernel_size,
                dilation=dilation,
                bias=bias,
                spatial_dims=spatial_dims,
            )
            # Numbered without counting dropout, so that weights fit with and without it.
            stage.add_module(f"{3 * i}", conv)
            if drop is not None:
                stage.add_module(f"drop{i + 1}", made("drop", drop))
            if norm is not None:
                stage.add_module(f"{3 * i + 1}", made("norm", norm, out_channels))
            stage.add_module(f"{3 * i + 2}", made("activation", activation))
        if inplace:
            write_in_place(*stage)
        if attention is not None:
            stage.add_module("attention", made("attention", attention, out_channels))
        return stage

    return make


def residual_stage(
    *,
    drop: Callable[..., nn.Module] | None = None,
    drop_path: Callable[..., nn.Module] | None = None,
    attention: Callable[..., nn.Module] | None = None,
    norm: Callable[..., nn.Module] | None = authors_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    inplace: bool = False,
    spatial_dims: int = 2,
) -> Stage:
    """Two pre-activation residual blocks, normalisation, activation.

    Both blocks are `PreActResidual`, as in the paper's backbone. With `attention`, the second is an
    `RSAB`.

    Args:
        drop: See `torchattn_blocks.PreActResidual`; by default no dropout.
        drop_path: See `torchattn_blocks.PreActResidual`; by default nothing drops a branch.
        attention: Function from a number of channels to the attention layer of the second block.
            None: no attention.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code. None: no normalisation.
        activation: See `torchattn_blocks.PreActResidual`.
        inplace: See `torchattn_blocks.PreActResidual`.
        spatial_dims: See `plain_stage`.

    Returns:
        Function from the numbers of input and output channels to the stage.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import UNet, residual_stage
        >>> stage = residual_stage(drop=lambda: nn.Dropout2d(0.1), activation=nn.SiLU)
        >>> model = UNet(1, 2, widths=(8, 16), stage=stage)
    """
    check_spatial_dims("residual_stage", spatial_dims)

    def make(in_channels: int, out_channels: int, *, spatial_dims: int = spatial_dims) -> nn.Module:
        options: dict[str, Any] = {
            "drop": drop,
            "drop_path": drop_path,
            "norm": norm,
            "activation": activation,
            "inplace": inplace,
            "spatial_dims": spatial_dims,
        }
        first = PreActResidual(in_channels, out_channels, **options)
        second = (
            PreActResidual(out_channels, **options)
            if attention is None
            else RSAB(out_channels, attention=attention, **options)
        )
        for block in (first, second):
            for child in block.children():  # the attention's convolution has its own rule
                if isinstance(child, CONVOLUTION[spatial_dims]):
                    start_with(glorot_uniform_, child)
        stage = nn.Sequential(first, second)
        made = partial(made_by, "residual_stage", spatial_dims=spatial_dims)
        if norm is not None:
            stage.add_module("2", made("norm", norm, out_channels))
        stage.add_module("3", made("activation", activation))
        if inplace:
            write_in_place(stage[-1])
        return stage

    return make


def rsan_stage(
    *,
    p: float = 0.15,
    block_size: int = 7,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    drop_path: Callable[..., nn.Module] | None = None,
    attention: Callable[..., nn.Module] | None = SpatialAttention,
    norm: Callable[..., nn.Module] | None = authors_norm,
    activation: Callable[[], nn.Module] = nn.ReLU,
    inplace: bool = False,
    spatial_dims: int = 2,
) -> Stage:
    """`PreActResidual`, `RSAB`, normalisation, activation: the stage of RSAN (paper, figure 4).

    Args:
        p: DropBlock's drop probability, ``1 - keep_prob``.
        block_size: Height and width of a dropped block.
        gamma: See `torchattn_blocks.DropBlock2d`; by default the paper's.
        scale: See `torchattn_blocks.DropBlock2d`; by default the paper's.
        drop_path: See `torchattn_blocks.PreActResidual`; by default nothing drops a branch.
        attention: See `torchattn_blocks.RSAB`. None: no attention.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation with eps = 2e-5, as in the RSAN authors' code. None: no normalisation.
        activation: See `torchattn_blocks.PreActResidual`.
        inplace: See `torchattn_blocks.PreActResidual`.
        spatial_dims: See `plain_stage`.

    Returns:
        Function from the numbers of input and output channels to the stage.

    Example:
        >>> from torchattn_blocks import UNet, rsan_stage
        >>> model = UNet(3, 1, widths=(8, 16), stage=rsan_stage(p=0.1))
    """
    return residual_stage(
        drop=partial(paper_drop_block, p, block_size, gamma=gamma, scale=scale),
        drop_path=drop_path,
        attention=attention,
        norm=norm,
        activation=activation,
        inplace=inplace,
        spatial_dims=spatial_dims,
    )
