"""Load other libraries' weights into layers and networks of this one, with equal outputs.

Each function for a layer takes the state dict of the other library's layer, or of a whole model
together with the prefix of the layer's keys. It returns a new layer with copies of the weights.
Weights do not record a layer's options. Pass any that differ from the defaults, if the function has
an argument for them. The new layer keeps the dtype and device of the weights. Like every new layer
it is in training mode: call `eval` if that matters, which here is only with batch normalisation.

`from_keras` fills your network with weights that Keras saved.

No function imports the other library.
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
