"""Attention and regularisation layers for PyTorch, and RSAN assembled from them."""

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from . import convert as convert
    from . import functional as functional
    from .layers.attention.channel import CBAM as CBAM
    from .layers.attention.channel import ChannelAttention as ChannelAttention
    from .layers.attention.eca import EfficientChannelAttention as EfficientChannelAttention
    from .layers.attention.gate import AttentionGate as AttentionGate
    from .layers.attention.maps import attention_maps as attention_maps
    from .layers.attention.maps import save_attention_maps as save_attention_maps
    from .layers.attention.spatial import SpatialAttention as SpatialAttention
    from .layers.attention.squeeze_excite import ConcurrentSqueezeExcite as ConcurrentSqueezeExcite
    from .layers.attention.squeeze_excite import SqueezeExcite as SqueezeExcite
    from .layers.drop_block import DropBlock1d as DropBlock1d
    from .layers.drop_block import DropBlock2d as DropBlock2d
    from .layers.drop_block import DropBlock3d as DropBlock3d
    from .layers.drop_schedule import DropSchedule as DropSchedule
    from .layers.identity_start import IdentityStart as IdentityStart
    from .layers.residual import RSAB as RSAB
    from .layers.residual import PreActResidual as PreActResidual
    from .layers.stochastic import mean_and_std as mean_and_std
    from .layers.stochastic import monte_carlo as monte_carlo
    from .models.presets import backbone as backbone
    from .models.presets import backbone_dropblock as backbone_dropblock
    from .models.presets import rsan as rsan
    from .models.presets import unet as unet
    from .models.stages import plain_stage as plain_stage
    from .models.stages import residual_stage as residual_stage
    from .models.stages import rsan_stage as rsan_stage
    from .models.unet_factory import UNet as UNet
    from .surgery.channels import in_channels as in_channels
    from .surgery.channels import out_channels as out_channels
    from .surgery.edit import insert_after as insert_after
    from .surgery.edit import insert_before as insert_before
    from .surgery.edit import replace as replace
    from .surgery.edit import undo as undo
    from .surgery.listing import changes as changes
    from .surgery.usage import report as report
else:
    from ._lazy import lazy

    # The same names again: a test holds the two equal.
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "convert": ".convert",
            "functional": ".functional",
            "CBAM": ".layers.attention.channel",
            "ChannelAttention": ".layers.attention.channel",
            "EfficientChannelAttention": ".layers.attention.eca",
            "AttentionGate": ".layers.attention.gate",
            "attention_maps": ".layers.attention.maps",
            "save_attention_maps": ".layers.attention.maps",
            "SpatialAttention": ".layers.attention.spatial",
            "ConcurrentSqueezeExcite": ".layers.attention.squeeze_excite",
            "SqueezeExcite": ".layers.attention.squeeze_excite",
            "DropBlock1d": ".layers.drop_block",
            "DropBlock2d": ".layers.drop_block",
            "DropBlock3d": ".layers.drop_block",
            "DropSchedule": ".layers.drop_schedule",
            "IdentityStart": ".layers.identity_start",
            "PreActResidual": ".layers.residual",
            "RSAB": ".layers.residual",
            "mean_and_std": ".layers.stochastic",
            "monte_carlo": ".layers.stochastic",
            "backbone": ".models.presets",
            "backbone_dropblock": ".models.presets",
            "rsan": ".models.presets",
            "unet": ".models.presets",
            "plain_stage": ".models.stages",
            "residual_stage": ".models.stages",
            "rsan_stage": ".models.stages",
            "UNet": ".models.unet_factory",
            "in_channels": ".surgery.channels",
            "out_channels": ".surgery.channels",
            "changes": ".surgery.listing",
            "insert_after": ".surgery.edit",
            "insert_before": ".surgery.edit",
            "replace": ".surgery.edit",
            "undo": ".surgery.edit",
            "report": ".surgery.usage",
        },
    )
