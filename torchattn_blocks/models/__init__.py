"""Networks assembled from the layers."""

from .presets import backbone, backbone_dropblock, rsan, unet
from .unet import UNet

__all__ = ["UNet", "backbone", "backbone_dropblock", "rsan", "unet"]
