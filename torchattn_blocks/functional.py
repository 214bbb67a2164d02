"""The layers' stateless twins."""

from .layers.attention import spatial_attention
from .layers.drop_block import drop_block2d

__all__ = ["drop_block2d", "spatial_attention"]
