"""Networks by name: how commands and weights files refer to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from .. import (
    BAM,
    CBAM,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    DropBlock2d,
    EfficientChannelAttention,
    GlobalContext,
    SimAM,
    SpatialAttention,
    SqueezeExcite,
    TripletAttention,
    UNet,
    backbone,
    backbone_dropblock,
    residual_stage,
    rsan,
    unet,
)
from .._check import check_choice, make_plain
from ..models import transposed
from .names import AttentionName, ModelName

PRESETS: Mapping[ModelName, Callable[..., UNet]] = {
    "rsan": rsan,
    "backbone_dropblock": backbone_dropblock,
    "backbone": backbone,
    "unet": unet,
}
ATTENTION: Mapping[AttentionName, Callable[..., nn.Module]] = {
    "spatial": SpatialAttention,
    "channel": ChannelAttention,
    "cbam": CBAM,
    "se": SqueezeExcite,
    "eca": EfficientChannelAttention,
    "scse": ConcurrentSqueezeExcite,
    "gc": GlobalContext,
    "coord": CoordinateAttention,
    "triplet": TripletAttention,
    "bam": partial(BAM, channel_norm=None),  # which takes batches of one image
    "simam": SimAM,
}
_FOR_ANY_CHANNELS = (SpatialAttention, TripletAttention, SimAM)


@dataclass(frozen=True)
class Network:
    """The name and the options of a network, as plain data.

    Attributes:
        model: Name of the preset: `rsan`, `backbone_dropblock`, `backbone` or `unet`.
        widths: Channels of the stages, from the first to the bottleneck.
        up_kernel_size: Kernel size of the transposed convolutions.
        p: DropBlock's drop probability, ``1 - keep_prob``. Ignored by networks without DropBlock.
        block_size: DropBlock's block size. Ignored by networks without DropBlock.
        gamma: How DropBlock computes its gamma, ``"paper"`` or ``"exact"``, see
            `torchattn_blocks.DropBlock2d`.
        scale: DropBlock's factor for kept elements, ``"batch"`` (the paper's), ``"constant"`` or
            ``"position"``.
        attention: The attention layer of `rsan`: ``"spatial"`` (the paper's `SpatialAttention`),
            ``"channel"`` (`ChannelAttention`), ``"cbam"`` (`CBAM`), ``"se"`` (`SqueezeExcite`),
            ``"eca"`` (`EfficientChannelAttention`), ``"scse"`` (`ConcurrentSqueezeExcite`),
            ``"gc"`` (`GlobalContext`), ``"coord"`` (`CoordinateAttention`), ``"triplet"``
            (`TripletAttention`), ``"bam"`` (`BAM` without `channel_norm`, so that it takes batches
            of one) or ``"simam"`` (`SimAM`).
        attention_after: Whether the attention of `rsan` acts on the sum of branch and shortcut. In
            the paper it acts on the branch.

    Example:
        >>> from torchattn_blocks.retina import Network
        >>> sum(w.numel() for w in Network("backbone").build().parameters())
        996583
    """

    model: ModelName = "rsan"
    widths: tuple[int, ...] = (16, 32, 64, 128)
    up_kernel_size: int = 2
    p: float = 0.15
    block_size: int = 7
    gamma: Literal["paper", "exact"] = "paper"
    scale: Literal["batch", "constant", "position"] = "batch"
    attention: AttentionName = "spatial"
    attention_after: bool = False

    def __post_init__(self) -> None:
        """Convert NumPy's numbers, too."""
        make_plain(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Network":
        """The network from its options as plain data, also after they went through JSON.

        Args:
            data: The options by name, as `dataclasses.asdict` gives them.

        Raises:
            TypeError: If there is an unknown option.
            KeyError: If the widths are missing.
        """
        return cls(**{**data, "widths": tuple(data["widths"])})

    def build(self) -> UNet:
        """Build the network with new random weights: 3 input channels, 1 logit per pixel.

        Raises:
            TypeError: If a width, `up_kernel_size` or `block_size` is not an int.
            ValueError: If `model`, `attention`, `gamma` or `scale` is unknown, `widths` has fewer
                than two entries or one below 1, `p` lies outside [0, 1], `block_size` is below 1 or
                `up_kernel_size` below 2.
        """
        check_choice("Network", PRESETS, model=self.model)
        check_choice("Network", ATTENTION, attention=self.attention)
        if self.attention_after and self.model == "rsan":
            up = transposed(self.up_kernel_size)
            return UNet(3, 1, widths=self.widths, stage=self._attending_after, up=up)
        preset = PRESETS[self.model]
        options: dict[str, Any] = vars(self) | {"attention": ATTENTION[self.attention]}
        known = signature(preset).parameters.keys() & options
        return preset(3, 1, **{name: options[name] for name in known})

    def check_describes(self, owner: str, model: nn.Module) -> None:
        """Raise `ValueError` unless the weights of `model` have this network's names and shapes."""
        with torch.device("meta"):
            expected = self.build().state_dict()
        got = model.state_dict()
        if wrong := [
            name
            for name in {**expected, **got}
            if name not in expected or name not in got or expected[name].shape != got[name].shape
        ]:
            raise ValueError(
                f"{owner}: network must describe model, got {self.model} of widths {self.widths}; "
                f"{len(wrong)} weights differ, such as {wrong[0]}"
            )

    def _attending_after(self, in_channels: int, out_channels: int) -> nn.Module:
        """A stage of `rsan` in which the attention acts on the sum."""
        drop = partial(DropBlock2d, self.p, self.block_size, gamma=self.gamma, scale=self.scale)
        stage = residual_stage(drop=drop)(in_channels, out_channels)
        assert isinstance(stage, nn.Sequential)
        layer = ATTENTION[self.attention]
        return stage.insert(2, layer() if layer in _FOR_ANY_CHANNELS else layer(out_channels))
