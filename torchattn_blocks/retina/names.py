"""The names that commands accept, in a separate file so that `--help` does not load torch."""

from typing import Literal

ModelName = Literal["rsan", "backbone_dropblock", "backbone", "unet"]
DatasetName = Literal["drive", "chase_db1", "stare", "hrf", "folder", "csv"]
AttentionName = Literal[
    "spatial", "channel", "cbam", "se", "eca", "scse", "gc", "coord", "triplet", "bam", "simam"
]
RecipeName = Literal["paper", "crops", "cameras"]
