"""The layers, one idea a file."""

from .attention import SpatialAttention
from .drop_block import DropBlock2d
from .residual import RSAB, PreActResidual

__all__ = ["RSAB", "DropBlock2d", "PreActResidual", "SpatialAttention"]
