"""The attention layers. All but the gate keep one contract: `forward(x)` is `x` times its map."""

from .channel import CBAM, ChannelAttention
from .eca import EfficientChannelAttention
from .gate import AttentionGate
from .spatial import SpatialAttention, spatial_attention
from .squeeze_excite import ConcurrentSqueezeExcite, SqueezeExcite

__all__ = [
    "CBAM",
    "AttentionGate",
    "ChannelAttention",
    "ConcurrentSqueezeExcite",
    "EfficientChannelAttention",
    "SpatialAttention",
    "SqueezeExcite",
    "spatial_attention",
]
