"""Weights of other libraries in layers and networks of this one, with equal outputs.

Each function for a layer takes the state dict of the other library's layer, or that of a whole
model and the prefix of the layer's keys in it, and returns a new layer with copies of the weights.
A layer's options are not in its weights: what differs from the defaults must be said, and is said
where a function has an argument for it. The new layer keeps dtype and device of the weights. It is
in training mode, as every new layer: call `eval` where that matters, which here is with batch
normalisation alone.

`from_keras` fills a network that you give with what Keras saved.

None imports the other library.
"""

from .keras import from_keras
from .layers import (
    from_bam_authors,
    from_cbam_authors,
    from_monai_se,
    from_smp_scse,
    from_spatial_attention,
    from_timm_cbam,
    from_timm_coord_attn,
    from_timm_eca,
    from_timm_global_context,
    from_timm_se,
    from_torchvision_se,
    from_triplet_authors,
)

__all__ = [
    "from_bam_authors",
    "from_cbam_authors",
    "from_keras",
    "from_monai_se",
    "from_smp_scse",
    "from_spatial_attention",
    "from_timm_cbam",
    "from_timm_coord_attn",
    "from_timm_eca",
    "from_timm_global_context",
    "from_timm_se",
    "from_torchvision_se",
    "from_triplet_authors",
]
