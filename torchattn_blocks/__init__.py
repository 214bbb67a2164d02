"""Attention and regularisation layers for PyTorch, and RSAN assembled from them."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import convert as convert
    from . import functional as functional
    from .layers import *  # noqa: F403 (the one list of layers)
    from .model_tools.drop_schedule import DropSchedule as DropSchedule
    from .model_tools.figure import save_attention_maps as save_attention_maps
    from .model_tools.maps import attention_maps as attention_maps
    from .model_tools.stochastic import mean_and_std as mean_and_std
    from .model_tools.stochastic import monte_carlo as monte_carlo
    from .model_tools.usage import LayerUse as LayerUse
    from .model_tools.usage import Report as Report
    from .model_tools.usage import report as report
    from .models.known import attention_unet as attention_unet
    from .models.known import sa_unet as sa_unet
    from .models.known import sd_unet as sd_unet
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
    from .surgery.listing import Change as Change
    from .surgery.listing import changes as changes
else:
    from . import layers
    from ._lazy import lazy

    # The same names again: a test checks that the two lists are equal.
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        dict.fromkeys(layers.__all__, ".layers")
        | {
            "convert": ".convert",
            "functional": ".functional",
            "attention_maps": ".model_tools.maps",
            "save_attention_maps": ".model_tools.figure",
            "DropSchedule": ".model_tools.drop_schedule",
            "mean_and_std": ".model_tools.stochastic",
            "monte_carlo": ".model_tools.stochastic",
            "attention_unet": ".models.known",
            "sa_unet": ".models.known",
            "sd_unet": ".models.known",
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
            "Change": ".surgery.listing",
            "changes": ".surgery.listing",
            "insert_after": ".surgery.edit",
            "insert_before": ".surgery.edit",
            "replace": ".surgery.edit",
            "undo": ".surgery.edit",
            "LayerUse": ".model_tools.usage",
            "Report": ".model_tools.usage",
            "report": ".model_tools.usage",
        },
    )
