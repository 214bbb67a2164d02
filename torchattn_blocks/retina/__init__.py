"""Retinal vessel segmentation on top of the layers: data, training, scores and pictures."""

try:
    from torchattn_blocks.retina.augmentation import Augmentation
    from torchattn_blocks.retina.datasets import chase_db1, drive
    from torchattn_blocks.retina.evaluation import (
        best_threshold,
        evaluation,
        evaluation_tables,
        save_report,
    )
    from torchattn_blocks.retina.files import FundusFiles
    from torchattn_blocks.retina.folder import folder, folder_protocol, save_folder
    from torchattn_blocks.retina.fov import estimate_fov, fov_diameter
    from torchattn_blocks.retina.fundus import Fundus
    from torchattn_blocks.retina.inference import vessel_probability
    from torchattn_blocks.retina.network import Network
    from torchattn_blocks.retina.plots import (
        error_map,
        overlay,
        save_score_curves,
        save_sheet,
        save_training_curves,
    )
    from torchattn_blocks.retina.protocol import CHASE_DB1, DRIVE, Protocol, Split
    from torchattn_blocks.retina.recipe import Recipe
    from torchattn_blocks.retina.scores import (
        cl_dice,
        image_scores,
        markdown_table,
        pooled_scores,
    )
    from torchattn_blocks.retina.segmentation import segment
    from torchattn_blocks.retina.synthetic import synthesize
    from torchattn_blocks.retina.training import EpochLog, train
    from torchattn_blocks.retina.weights import Settings, Trained, load_pretrained, save_weights
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"torchattn_blocks.retina needs {error.name}: pip install 'torchattn_blocks[retina]'",
        name=error.name,
    ) from error

__all__ = [
    "CHASE_DB1",
    "DRIVE",
    "Augmentation",
    "EpochLog",
    "Fundus",
    "FundusFiles",
    "Network",
    "Protocol",
    "Recipe",
    "Settings",
    "Split",
    "Trained",
    "best_threshold",
    "chase_db1",
    "cl_dice",
    "drive",
    "error_map",
    "estimate_fov",
    "evaluation",
    "evaluation_tables",
    "folder",
    "folder_protocol",
    "fov_diameter",
    "image_scores",
    "load_pretrained",
    "markdown_table",
    "overlay",
    "pooled_scores",
    "save_folder",
    "save_report",
    "save_score_curves",
    "save_sheet",
    "save_training_curves",
    "save_weights",
    "segment",
    "synthesize",
    "train",
    "vessel_probability",
]
