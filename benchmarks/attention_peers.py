"""Other libraries' attention layers, the textbook's and ours, by kind: `build(channels)` each.

Layers of a kind have the same number of hidden channels, so that they do the same; `norm` tells
those that add batch normalisation. How to install the libraries: `peers.txt`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any

import libraries
import textbook
import torch
from libraries import OURS
from torch import Tensor, nn

import torchattn_blocks as ours

GATE = "Attention gate"


@dataclass(frozen=True, kw_only=True)
class Contender(libraries.Contender):
    """A layer: what kind, how to build it, and whether it has batch normalisation."""

    kind: str
    build: Callable[[int], nn.Module]
    norm: bool

    def inputs(self, shape: Sequence[int]) -> list[Tensor]:
        """What the layer takes: a gate takes two feature maps, the last of which it weighs."""
        return [torch.randn(shape, requires_grad=True) for _ in range(1 + (self.kind == GATE))]

    def failure(self, channels: int) -> str:
        """The error with so many channels, or nothing."""
        try:
            self.build(channels)(*self.inputs((2, channels, 8, 8)))
        except Exception as error:  # whatever another library raises
            return f"{type(error).__name__}: {error}"
        return ""


def parameters(layer: nn.Module) -> int:
    return sum(weight.numel() for weight in layer.parameters())


def _kind(kind: str, *layers: tuple[str, str, Callable[[int], nn.Module]]) -> list[Contender]:
    """Layers of a kind; those with batch normalisation say so in their name."""
    contenders = []
    for name, library, build in layers:
        missing = "" if find_spec(library) else f"{library} is not installed"
        norm = "batch norm" in name
        contenders.append(
            Contender(
                name=name, library=library, missing=missing, kind=kind, build=build, norm=norm
            )
        )
    return contenders


def _peer(path: str, *args: Any, **options: Any) -> nn.Module:
    """A layer of another library, imported when it is first built."""
    return resolve_name(path)(*args, **options)


def _hidden(channels: int) -> int:
    return max(1, channels // 16)


def _context(kind: str, add: bool) -> list[Contender]:
    timm = {"fuse_add": add, "fuse_scale": not add}
    options = {
        "fusion": "add" if add else "scale",
        "norm": partial(nn.LayerNorm, eps=1e-6),  # timm's
    }
    return _kind(
        kind,
        ("textbook", "torch", lambda c: textbook.GlobalContext(c, _wide(c), add)),
        (
            "timm",
            "timm",
            lambda c: _peer("timm.layers:GlobalContext", c, rd_channels=_wide(c), **timm),
        ),
        (OURS, OURS, lambda c: ours.GlobalContext(c, **options)),
    )


def _wide(channels: int) -> int:
    return max(8, channels // 16)


CONTENDERS = [
    *_kind(
        "Spatial attention",
        ("textbook", "torch", lambda c: textbook.SpatialAttention()),
        (OURS, OURS, lambda c: ours.SpatialAttention()),
        ("textbook, batch norm", "torch", lambda c: textbook.SpatialAttention(norm=True)),
        ("timm, batch norm", "timm", lambda c: _peer("timm.layers.cbam:SpatialAttn")),
        (f"{OURS}, batch norm", OURS, lambda c: ours.SpatialAttention(norm=nn.BatchNorm2d)),
    ),
    *_kind(
        "Channel attention",
        ("textbook", "torch", lambda c: textbook.ChannelAttention(c, _hidden(c))),
        ("timm", "timm", lambda c: _peer("timm.layers.cbam:ChannelAttn", c)),
        (OURS, OURS, lambda c: ours.ChannelAttention(c)),
    ),
    *_kind(
        "CBAM",
        ("textbook", "torch", lambda c: textbook.cbam(c, _hidden(c))),
        (OURS, OURS, lambda c: ours.CBAM(c)),
        ("textbook, batch norm", "torch", lambda c: textbook.cbam(c, _hidden(c), norm=True)),
        ("timm, batch norm", "timm", lambda c: _peer("timm.layers.cbam:CbamModule", c)),
        (f"{OURS}, batch norm", OURS, lambda c: ours.CBAM(c, norm=nn.BatchNorm2d)),
    ),
    *_kind(
        "Squeeze-and-excitation",
        ("textbook", "torch", lambda c: textbook.SqueezeExcite(c, _hidden(c))),
        ("timm", "timm", lambda c: _peer("timm.layers:SEModule", c, rd_channels=_hidden(c))),
        (
            "torchvision",
            "torchvision",
            lambda c: _peer("torchvision.ops:SqueezeExcitation", c, _hidden(c)),
        ),
        ("MONAI", "monai", lambda c: _peer("monai.networks.blocks:ChannelSELayer", 2, c, r=16)),
        (OURS, OURS, lambda c: ours.SqueezeExcite(c)),
    ),
    *_kind(
        "Efficient channel attention",
        ("textbook", "torch", lambda c: textbook.EfficientChannelAttention(c)),
        ("timm", "timm", lambda c: _peer("timm.layers:EcaModule", c)),
        (OURS, OURS, lambda c: ours.EfficientChannelAttention(c)),
    ),
    *_kind(
        "scSE",
        ("textbook", "torch", lambda c: textbook.ConcurrentSqueezeExcite(c, _hidden(c))),
        (
            "smp",
            "segmentation_models_pytorch",
            lambda c: _peer("segmentation_models_pytorch.base.modules:SCSEModule", c),
        ),
        (OURS, OURS, lambda c: ours.ConcurrentSqueezeExcite(c, reduction=16)),
    ),
    *_context("Global context, add", True),
    *_context("Global context, scale", False),
    *_kind(
        "Coordinate attention",
        ("textbook", "torch", lambda c: textbook.CoordinateAttention(c, _wide(c), bias=False)),
        (
            "timm",
            "timm",
            lambda c: _peer("timm.layers.coord_attn:CoordAttn", c, rd_channels=_wide(c)),
        ),
        (
            OURS,
            OURS,
            lambda c: ours.CoordinateAttention(c, hidden_channels=_wide(c), bias=False),
        ),
    ),
    *_kind(
        "Triplet attention",
        ("textbook", "torch", lambda c: textbook.TripletAttention()),
        (OURS, OURS, lambda c: ours.TripletAttention()),
    ),
    *_kind(
        "BAM",
        ("textbook", "torch", lambda c: textbook.BAM(c, _hidden(c))),
        (OURS, OURS, lambda c: ours.BAM(c, channel_norm=None)),  # for a batch of one
    ),
    *_kind(
        "SimAM",
        ("textbook", "torch", lambda c: textbook.SimAM()),
        (OURS, OURS, lambda c: ours.SimAM()),
    ),
    *_kind(
        GATE,
        ("textbook", "torch", lambda c: textbook.AttentionGate(c)),
        (OURS, OURS, lambda c: ours.AttentionGate(c, c)),
        (
            "MONAI, batch norm",
            "monai",
            lambda c: _peer("monai.networks.nets.attentionunet:AttentionBlock", 2, c // 2, c, c),
        ),
    ),
]
