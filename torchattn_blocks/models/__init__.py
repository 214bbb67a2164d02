"""Networks assembled from the layers, and the parts that they consist of."""

from .downsampling import avg_pool, max_pool, strided_conv
from .known import attention_unet, sa_unet, sd_unet
from .presets import backbone, backbone_dropblock, rsan, unet
from .skips import add, concatenate
from .stages import plain_stage, residual_stage, rsan_stage
from .unet_factory import UNet
from .upsampling import pixel_shuffle, transposed, upsample

__all__ = [
    "UNet",
    "add",
    "attention_unet",
    "avg_pool",
    "backbone",
    "backbone_dropblock",
    "concatenate",
    "max_pool",
    "pixel_shuffle",
    "plain_stage",
    "residual_stage",
    "rsan",
    "rsan_stage",
    "sa_unet",
    "sd_unet",
    "strided_conv",
    "transposed",
    "unet",
    "upsample",
]
