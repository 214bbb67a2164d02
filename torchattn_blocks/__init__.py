"""Attention and regularisation layers for PyTorch, and RSAN assembled from them."""

from . import functional
from .layers import RSAB, DropBlock2d, PreActResidual, SpatialAttention
from .models import UNet, backbone, backbone_dropblock, rsan, unet

__version__ = "0.1.0.dev0"

__all__ = [
    "RSAB",
    "DropBlock2d",
    "PreActResidual",
    "SpatialAttention",
    "UNet",
    "backbone",
    "backbone_dropblock",
    "functional",
    "rsan",
    "unet",
]
