"""The functional interface of the layers."""

from .layers.attention.spatial import spatial_attention
from .layers.drop_block import drop_block1d, drop_block2d, drop_block3d
from .layers.drop_path import stochastic_depth

__all__ = ["drop_block1d", "drop_block2d", "drop_block3d", "spatial_attention", "stochastic_depth"]
