"""The names that commands take; apart from what they name, so that parsing loads no torch."""

from typing import Literal

ModelName = Literal["rsan", "backbone_dropblock", "backbone", "unet"]
DatasetName = Literal["drive", "chase_db1", "folder"]
PAPER = "paper"  # the options of a study that leave everything as the protocol has it
