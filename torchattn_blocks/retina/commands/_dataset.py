"""Data sets by the names that commands accept."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from inspect import unwrap
from pathlib import Path

from ..data.chase_files import list_chase_db1
from ..data.csv_files import list_csv
from ..data.drive_files import list_drive
from ..data.files import FundusFiles
from ..data.folders import list_folder
from ..data.hrf_files import list_hrf
from ..data.roles import image_files, sibling_folders
from ..data.search import first_listed
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
from ..training.recipe import Recipe


def _list_drive(root: Path) -> list[FundusFiles]:
    """Both splits."""
    return [*list_drive(root, "training"), *list_drive(root, "test")]


_LISTERS: dict[DatasetName, Callable[[Path], list[FundusFiles]]] = {
    "drive": _list_drive,
    "chase_db1": list_chase_db1,
    "stare": list_stare,
    "hrf": list_hrf,
    "folder": list_folder,
    "csv": list_csv,
}
_PROTOCOLS = {"drive": DRIVE_PROTOCOL, "chase_db1": CHASE_DB1_PROTOCOL}


def list_dataset(name: DatasetName, root: Path) -> list[FundusFiles]:
    """The images of a data set. For ``"folder"``, prints what was read from its folders.

    If it cannot be read, but as another data set, the error names that one.
    """
    try:
        files = _LISTERS[name](root)
    except (FileNotFoundError, ValueError) as error:
        for other, lister in _LISTERS.items():
            # Unwrapped: only this folder is checked, none near by.
            if other != name and first_listed([root], unwrap(lister)):
                kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
                raise kind(f"{error}\nDid you mean --dataset {other}?") from None
        raise
    if name == "folder":
        print(folders_read(files), file=sys.stderr)  # only results go to the output
    return files


def open_dataset(name: DatasetName, root: Path, fold: str | None = None) -> tuple[Protocol, Split]:
    """The protocol of a data set, and its images split by it.

    With `fold`, such as ``"1/5"``, its training and validation images are split for
    cross-validation.
    """
    if fold is not None and not re.fullmatch(r"\d+/\d+", fold):
        raise ValueError(f"--fold must be like 1/5, the first of five folds, got {fold!r}")
    files = list_dataset(name, root)
    protocol = _PROTOCOLS.get(name) or folder_protocol(files)
    split = protocol.split(files)
    if fold is not None:
        split = cross_validation(split, *map(int, fold.split("/")))
    return protocol, split


def open_datasets(
    names: Sequence[DatasetName], roots: Sequence[Path], fold: str | None = None
) -> tuple[Protocol, Split]:
    """The same for one data set or several. Of several, images are also named after their set.

    Several have the paper's DropBlock for DRIVE, and a padding that all their images fit in.
    """
    if not roots:
        raise ValueError("--data must name at least 1 folder or CSV file, got none")
    if len(names) not in (1, len(roots)):
        raise ValueError(
            f"--dataset must name one layout, or one for each of the {len(roots)} places of --data,"
            f" got {len(names)}"
        )
    every = list(names) * (len(roots) // len(names))
    opened = [open_dataset(*each, fold) for each in zip(every, roots, strict=True)]
    sets = _labels(every, roots)
    if len(opened) == 1:
        [(protocol, split)] = opened
        return protocol, Split(*([_of(sets[0], file) for file in part] for part in split))
    parts: list[list[FundusFiles]] = [[], [], []]
    for name, (_, split) in zip(sets, opened, strict=True):
        for part, files in zip(parts, split, strict=True):
            part += [replace(_of(name, one), name=f"{name}/{one.name}") for one in files]
    joined = Split(*parts)
    validation, test = (tuple(one.name for one in part) for part in joined[1:])
    side = max(protocol.recipe.side or 0 for protocol, _ in opened)
    return Protocol(validation, test, DRIVE_PROTOCOL.p, Recipe(side=side)), joined


def _labels(names: Sequence[str], roots: Sequence[Path]) -> list[str]:
    """A name for each data set: its layout's or, if several have this layout, its folder's."""
    twice = {name: names.count(name) > 1 for name in names}
    labels = [
        (root.resolve().stem if root.is_file() else root.resolve().name) if twice[name] else name
        for name, root in zip(names, roots, strict=True)
    ]
    return [
        f"{label}-{number}" if labels.count(label) > 1 else label
        for number, label in enumerate(labels, 1)
    ]


def _of(name: str, files: FundusFiles) -> FundusFiles:
    """The image with this name as its data set, unless it already has one."""
    return replace(files, dataset=files.dataset or name)


def folders_read(files: Sequence[FundusFiles]) -> str:
    """One line on which folder was used for what: ``labels: labels/ (20), fields of view: ...``.

    It also names folders beside the image folders that hold images and were not read.
    """
    seconds = [file.second_label for file in files if file.second_label]
    paths = [path for file in files for path in (file.image, file.label, file.fov) if path]
    read = {path.parent for path in [*paths, *seconds]}
    unread = {
        f"{folder.name}/"
        for place in {file.image.parent.parent for file in files}
        for folder in sibling_folders(place)
        if folder not in read and image_files(folder)
    }
    facts = {
        "labels": _counted((file.label for file in files), "none"),
        "fields of view": _counted((file.fov for file in files), "estimated"),
        "second observer": _counted(seconds, ""),
        "not read": ", ".join(sorted(unread)),
    }
    return ", ".join(f"{what}: {found}" for what, found in facts.items() if found)


def _counted(paths: Iterable[Path | None], missing: str) -> str:
    """The folders of files with their numbers of files; `missing` stands for None."""
    counts = Counter(f"{path.parent.name}/" if path else missing for path in paths)
    if [*counts] == [missing]:
        return missing
    return " and ".join(f"{folder} ({count})" for folder, count in sorted(counts.items()))
