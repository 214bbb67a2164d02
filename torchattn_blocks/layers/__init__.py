"""The layers, one idea a file."""

from .attention import (
    CBAM,
    AttentionGate,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    EfficientChannelAttention,
    SpatialAttention,
    SqueezeExcite,
)
from .drop_block import DropBlock1d, DropBlock2d, DropBlock3d
from .identity_start import IdentityStart
from .residual import RSAB, PreActResidual

__all__ = [
    "CBAM",
    "RSAB",
    "AttentionGate",
    "ChannelAttention",
    "ConcurrentSqueezeExcite",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
    "EfficientChannelAttention",
    "IdentityStart",
    "PreActResidual",
    "SpatialAttention",
    "SqueezeExcite",
]
