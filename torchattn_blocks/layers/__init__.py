"""The layers, one idea per file, and the one list of their names."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attention.bam import BAM as BAM
    from .attention.channel import CBAM as CBAM
    from .attention.channel import ChannelAttention as ChannelAttention
    from .attention.coordinate import CoordinateAttention as CoordinateAttention
    from .attention.eca import EfficientChannelAttention as EfficientChannelAttention
    from .attention.gate import AttentionGate as AttentionGate
    from .attention.global_context import GlobalContext as GlobalContext
    from .attention.simam import SimAM as SimAM
    from .attention.spatial import SpatialAttention as SpatialAttention
    from .attention.squeeze_excite import ConcurrentSqueezeExcite as ConcurrentSqueezeExcite
    from .attention.squeeze_excite import SqueezeExcite as SqueezeExcite
    from .attention.triplet import TripletAttention as TripletAttention
    from .drop_block import DropBlock as DropBlock
    from .drop_block import DropBlock1d as DropBlock1d
    from .drop_block import DropBlock2d as DropBlock2d
    from .drop_block import DropBlock3d as DropBlock3d
    from .drop_path import StochasticDepth as StochasticDepth
    from .identity_start import IdentityStart as IdentityStart
    from .residual import RSAB as RSAB
    from .residual import PreActResidual as PreActResidual
else:
    from .._lazy import lazy

    # The same names again: a test checks that the two lists are equal.
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "TripletAttention": ".attention.triplet",
            "SimAM": ".attention.simam",
            "CoordinateAttention": ".attention.coordinate",
            "BAM": ".attention.bam",
            "CBAM": ".attention.channel",
            "ChannelAttention": ".attention.channel",
            "EfficientChannelAttention": ".attention.eca",
            "AttentionGate": ".attention.gate",
            "GlobalContext": ".attention.global_context",
            "SpatialAttention": ".attention.spatial",
            "ConcurrentSqueezeExcite": ".attention.squeeze_excite",
            "SqueezeExcite": ".attention.squeeze_excite",
            "DropBlock": ".drop_block",
            "DropBlock1d": ".drop_block",
            "DropBlock2d": ".drop_block",
            "DropBlock3d": ".drop_block",
            "StochasticDepth": ".drop_path",
            "IdentityStart": ".identity_start",
            "RSAB": ".residual",
            "PreActResidual": ".residual",
        },
    )
