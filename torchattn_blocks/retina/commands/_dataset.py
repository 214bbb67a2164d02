"""Data sets by the names that commands take."""

from pathlib import Path
from typing import Literal

from torchattn_blocks.retina.datasets import chase_db1, drive
from torchattn_blocks.retina.folder import folder, folder_protocol
from torchattn_blocks.retina.protocol import CHASE_DB1, DRIVE, Protocol, Split

DatasetName = Literal["drive", "chase_db1", "folder"]


def open_dataset(name: DatasetName, root: Path) -> tuple[Protocol, Split]:
    """How a data set is used, and its photographs, sorted into their parts."""
    match name:
        case "drive":
            protocol, files = DRIVE, [*drive(root, "training"), *drive(root, "test")]
        case "chase_db1":
            protocol, files = CHASE_DB1, chase_db1(root)
        case "folder":
            files = folder(root)
            protocol = folder_protocol(files)
    return protocol, protocol.split(files)
