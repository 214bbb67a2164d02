"""The scores in the paper: its tables 1 (DRIVE) and 2 (CHASE_DB1)."""

from collections.abc import Mapping
from typing import NamedTuple


class PaperRow(NamedTuple):
    """A row of the paper's tables.

    Attributes:
        title: The paper's name of the network.
        scores: Its scores.
    """

    title: str
    scores: Mapping[str, float]


_TITLES = {
    "unet": "U-Net*",
    "backbone": "Backbone",
    "backbone_dropblock": "Backbone+DropBlock",
    "rsan": "RSAN",
}
_COLUMNS = ("SEN", "SPE", "F1", "ACC", "AUC")
_TABLES = {
    "drive": {
        "unet": (0.7537, 0.9820, 0.8142, 0.9531, 0.9755),
        "backbone": (0.7851, 0.9826, 0.7985, 0.9653, 0.9762),
        "backbone_dropblock": (0.7908, 0.9847, 0.8110, 0.9677, 0.9822),
        "rsan": (0.8149, 0.9839, 0.8222, 0.9691, 0.9855),
    },
    "chase_db1": {
        "unet": (0.8288, 0.9701, 0.7783, 0.9578, 0.9772),
        "backbone": (0.7843, 0.9844, 0.7781, 0.9718, 0.9805),
        "backbone_dropblock": (0.8330, 0.9830, 0.7990, 0.9736, 0.9871),
        "rsan": (0.8486, 0.9836, 0.8111, 0.9751, 0.9894),
    },
}
# By data set and by our name of the network.
PAPER = {
    dataset: {
        model: PaperRow(_TITLES[model], dict(zip(_COLUMNS, scores, strict=True)))
        for model, scores in table.items()
    }
    for dataset, table in _TABLES.items()
}
# The meaning of the star.
NOTES = {
    "drive": "Starred in the paper: taken from another paper; scored within the field of view.",
    "chase_db1": "Starred in the paper: taken from another paper.",
}
