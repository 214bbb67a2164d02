"""Data sets by the names that commands accept."""

from pathlib import Path

from ..data.chase_files import list_chase_db1
from ..data.csv_files import list_csv
from ..data.drive_files import list_drive
from ..data.folders import list_folder
from ..data.hrf_files import list_hrf
from ..data.stare_files import list_stare
from ..names import DatasetName
from ..protocol import CHASE_DB1_PROTOCOL, DRIVE_PROTOCOL, Protocol, Split, folder_protocol

_LISTERS = {"stare": list_stare, "hrf": list_hrf, "folder": list_folder, "csv": list_csv}


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
        case _:
            files = _LISTERS[name](root)
            protocol = folder_protocol(files)
    return protocol, protocol.split(files)
