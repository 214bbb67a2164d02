"""Networks assembled from the layers, and what they are assembled from."""

from .parts import transposed
from .presets import backbone, backbone_dropblock, rsan, unet
from .stages import plain_stage, residual_stage, rsan_stage
from .unet_factory import UNet

__all__ = [
    "UNet",
    "backbone",
    "backbone_dropblock",
    "plain_stage",
    "residual_stage",
    "rsan",
    "rsan_stage",
    "transposed",
    "unet",
]
