"""Retinal vessel segmentation on top of the layers: data, training, scores and pictures."""

try:
    from torchattn_blocks.retina.datasets import FundusFiles, chase_db1, drive
    from torchattn_blocks.retina.fov import estimate_fov
    from torchattn_blocks.retina.fundus import Fundus
    from torchattn_blocks.retina.inference import vessel_probability
    from torchattn_blocks.retina.plots import error_map, save_sheet
    from torchattn_blocks.retina.protocol import CHASE_DB1, DRIVE, Protocol, Split
    from torchattn_blocks.retina.scores import (
        cl_dice,
        image_scores,
        markdown_table,
        pooled_scores,
    )
    from torchattn_blocks.retina.synthetic import synthesize
    from torchattn_blocks.retina.training import EpochLog, Recipe, train
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"torchattn_blocks.retina needs {error.name}: pip install 'torchattn_blocks[retina]'",
        name=error.name,
    ) from error

__all__ = [
    "CHASE_DB1",
    "DRIVE",
    "EpochLog",
    "Fundus",
    "FundusFiles",
    "Protocol",
    "Recipe",
    "Split",
    "chase_db1",
    "cl_dice",
    "drive",
    "error_map",
    "estimate_fov",
    "image_scores",
    "markdown_table",
    "pooled_scores",
    "save_sheet",
    "synthesize",
    "train",
    "vessel_probability",
]
