"""Data sets by the names that commands accept."""

import re
from pathlib import Path

from ..data.chase_files import list_chase_db1
from ..data.csv_files import list_csv
from ..data.drive_files import list_drive
from ..data.files import FundusFiles
from ..data.folders import list_folder
from ..data.hrf_files import list_hrf
from ..data.stare_files import list_stare
from ..names import DatasetName
from ..protocol import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    Protocol,
    Split,
    cross_validation,
    folder_protocol,
)

_LISTERS = {
    "chase_db1": list_chase_db1,
    "stare": list_stare,
    "hrf": list_hrf,
    "folder": list_folder,
    "csv": list_csv,
}
_PROTOCOLS = {"drive": DRIVE_PROTOCOL, "chase_db1": CHASE_DB1_PROTOCOL}


def list_dataset(name: DatasetName, root: Path) -> list[FundusFiles]:
    """The images of a data set."""
    if name == "drive":
        return [*list_drive(root, "training"), *list_drive(root, "test")]
    return _LISTERS[name](root)


def open_dataset(name: DatasetName, root: Path, fold: str | None = None) -> tuple[Protocol, Split]:
    """The protocol of a data set, and its images split by it.

    With `fold`, ``"1/5"`` say, its training and validation images split for cross-validation.
    """
    if fold is not None and not re.fullmatch(r"\d+/\d+", fold):
        raise ValueError(f"--fold must be like 1/5, the first of five folds, got {fold!r}")
    files = list_dataset(name, root)
    protocol = _PROTOCOLS.get(name) or folder_protocol(files)
    split = protocol.split(files)
    if fold is not None:
        split = cross_validation(split, *map(int, fold.split("/")))
    return protocol, split
