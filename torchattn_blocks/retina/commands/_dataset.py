"""Data sets by the names that commands accept."""

from pathlib import Path

from ..data.chase_files import list_chase_db1
from ..data.drive_files import list_drive
from ..data.folders import list_folder
from ..names import DatasetName
from ..protocol import CHASE_DB1_PROTOCOL, DRIVE_PROTOCOL, Protocol, Split, folder_protocol


def open_dataset(name: DatasetName, root: Path) -> tuple[Protocol, Split]:
    """The protocol of a data set, and its images split by it."""
    match name:
        case "drive":
            protocol, files = (
                DRIVE_PROTOCOL,
                [*list_drive(root, "training"), *list_drive(root, "test")],
            )
        case "chase_db1":
            protocol, files = CHASE_DB1_PROTOCOL, list_chase_db1(root)
        case "folder":
            files = list_folder(root)
            protocol = folder_protocol(files)
    return protocol, protocol.split(files)
