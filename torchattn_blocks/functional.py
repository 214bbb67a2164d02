"""The functional interface of the layers."""

from .layers.attention import spatial_attention
from .layers.drop_block import drop_block2d

__all__ = ["drop_block2d", "spatial_attention"]
