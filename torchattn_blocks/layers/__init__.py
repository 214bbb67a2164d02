"""The layers, one idea a file."""

from .attention import SpatialAttention
from .drop_block import DropBlock1d, DropBlock2d, DropBlock3d
from .residual import RSAB, PreActResidual

__all__ = [
    "RSAB",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
    "PreActResidual",
    "SpatialAttention",
]
