"""Retinal vessel segmentation on top of the layers: data, training, scores and pictures."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .allocator import keep_freed_memory as keep_freed_memory
    from .calibration import calibrate as calibrate
    from .data.chase_files import list_chase_db1 as list_chase_db1
    from .data.csv_files import list_csv as list_csv
    from .data.decode import read_image as read_image
    from .data.drive_files import list_drive as list_drive
    from .data.files import FundusFiles as FundusFiles
    from .data.folders import list_folder as list_folder
    from .data.folders import save_folder as save_folder
    from .data.fov import estimate_fov as estimate_fov
    from .data.fov import fov_diameter as fov_diameter
    from .data.fov import fov_remark as fov_remark
    from .data.hrf_files import list_hrf as list_hrf
    from .data.stare_files import list_stare as list_stare
    from .data.synthetic import synthesize as synthesize
    from .evaluation.connectivity import cl_dice as cl_dice
    from .evaluation.deprecated import evaluation_rows as evaluation_rows
    from .evaluation.deprecated import evaluation_tables as evaluation_tables
    from .evaluation.deprecated import save_report as save_report
    from .evaluation.plots import save_score_curves as save_score_curves
    from .evaluation.report import Evaluation as Evaluation
    from .evaluation.report import SystemScores as SystemScores
    from .evaluation.report import ViewScores as ViewScores
    from .evaluation.scores import Spread as Spread
    from .evaluation.scores import image_scores as image_scores
    from .evaluation.scores import pooled_scores as pooled_scores
    from .evaluation.scoring import evaluate as evaluate
    from .evaluation.sheet import save_sheet as save_sheet
    from .evaluation.tables import markdown_table as markdown_table
    from .evaluation.threshold import ThresholdChoice as ThresholdChoice
    from .evaluation.threshold import best_threshold as best_threshold
    from .fundus import Fundus as Fundus
    from .measures.measure import measure_vessels as measure_vessels
    from .measures.reliability import Agreement as Agreement
    from .measures.reliability import agreement as agreement
    from .measures.reliability import intraclass_correlation as intraclass_correlation
    from .measures.values import VesselMeasures as VesselMeasures
    from .network import Network as Network
    from .overlays import error_map as error_map
    from .overlays import overlay as overlay
    from .predict import segment as segment
    from .predict import segment_monte_carlo as segment_monte_carlo
    from .predict import vessel_probability as vessel_probability
    from .protocol import CHASE_DB1_PROTOCOL as CHASE_DB1_PROTOCOL
    from .protocol import DRIVE_PROTOCOL as DRIVE_PROTOCOL
    from .protocol import Protocol as Protocol
    from .protocol import Split as Split
    from .protocol import cross_validation as cross_validation
    from .protocol import folder_protocol as folder_protocol
    from .protocol import on_crops as on_crops
    from .training.augment import Augmentation as Augmentation
    from .training.checkpoint import LogEntry as LogEntry
    from .training.crops import Crops as Crops
    from .training.curves import save_training_curves as save_training_curves
    from .training.loop import train as train
    from .training.recipe import CAMERAS_RECIPE as CAMERAS_RECIPE
    from .training.recipe import CROPS_RECIPE as CROPS_RECIPE
    from .training.recipe import Recipe as Recipe
    from .weights import Settings as Settings
    from .weights import Trained as Trained
    from .weights import load_pretrained as load_pretrained
    from .weights import load_weights as load_weights
    from .weights import save_weights as save_weights
    from .working_diameter import find_fov_diameter as find_fov_diameter
else:
    from .._lazy import lazy

    # The same names again; a test checks that both are equal.
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "keep_freed_memory": ".allocator",
            "calibrate": ".calibration",
            "list_chase_db1": ".data.chase_files",
            "list_csv": ".data.csv_files",
            "read_image": ".data.decode",
            "list_drive": ".data.drive_files",
            "FundusFiles": ".data.files",
            "list_folder": ".data.folders",
            "save_folder": ".data.folders",
            "estimate_fov": ".data.fov",
            "fov_diameter": ".data.fov",
            "fov_remark": ".data.fov",
            "list_hrf": ".data.hrf_files",
            "list_stare": ".data.stare_files",
            "synthesize": ".data.synthetic",
            "cl_dice": ".evaluation.connectivity",
            "evaluation_rows": ".evaluation.deprecated",
            "evaluation_tables": ".evaluation.deprecated",
            "save_report": ".evaluation.deprecated",
            "save_score_curves": ".evaluation.plots",
            "Evaluation": ".evaluation.report",
            "SystemScores": ".evaluation.report",
            "ViewScores": ".evaluation.report",
            "Spread": ".evaluation.scores",
            "image_scores": ".evaluation.scores",
            "pooled_scores": ".evaluation.scores",
            "evaluate": ".evaluation.scoring",
            "save_sheet": ".evaluation.sheet",
            "markdown_table": ".evaluation.tables",
            "ThresholdChoice": ".evaluation.threshold",
            "best_threshold": ".evaluation.threshold",
            "Fundus": ".fundus",
            "measure_vessels": ".measures.measure",
            "Agreement": ".measures.reliability",
            "agreement": ".measures.reliability",
            "intraclass_correlation": ".measures.reliability",
            "VesselMeasures": ".measures.values",
            "Network": ".network",
            "error_map": ".overlays",
            "overlay": ".overlays",
            "segment": ".predict",
            "segment_monte_carlo": ".predict",
            "vessel_probability": ".predict",
            "CHASE_DB1_PROTOCOL": ".protocol",
            "DRIVE_PROTOCOL": ".protocol",
            "Protocol": ".protocol",
            "Split": ".protocol",
            "cross_validation": ".protocol",
            "folder_protocol": ".protocol",
            "on_crops": ".protocol",
            "Augmentation": ".training.augment",
            "LogEntry": ".training.checkpoint",
            "Crops": ".training.crops",
            "save_training_curves": ".training.curves",
            "train": ".training.loop",
            "CAMERAS_RECIPE": ".training.recipe",
            "CROPS_RECIPE": ".training.recipe",
            "Recipe": ".training.recipe",
            "Settings": ".weights",
            "Trained": ".weights",
            "load_pretrained": ".weights",
            "load_weights": ".weights",
            "save_weights": ".weights",
            "find_fov_diameter": ".working_diameter",
        },
        extra="retina",
    )
