"""The images passed to the command ``segment``: files, folders, folder trees and lists."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.csv_table import read_table, require_rows
from ..data.folders import find_masks
from ..data.predictions import KINDS
from ..data.roles import image_files, sibling_folders
from ..data.search import listing
from .manifest import FILE, RECORDS
from .outputs import Outputs

_LISTS = (".csv", ".txt")
_PATH_COLUMNS = ("image", "path")


class CohortImage(NamedTuple):
    """An image to be segmented.

    Attributes:
        name: The name of its files. It may start with folders.
        path: The image.
        mask: Its field of view, or None to estimate it.
    """

    name: str
    path: Path
    mask: Path | None = None

    def absolute(self) -> "CohortImage":
        """The image by absolute paths."""
        return CohortImage(self.name, self.path.absolute(), self.mask and self.mask.absolute())


def list_images(given: Sequence[Path], out: Path, *, recursive: bool = False) -> list[CohortImage]:
    """The images that paths stand for, each once, in the order of the paths.

    A folder stands for the images in it, with `recursive` also for the images in its subfolders. A
    CSV file with a column ``image`` or ``path`` stands for the images that it names, and so does a
    text file with a path on each line. Relative paths start from the folder of the list. Files in
    lists need not exist.

    Args:
        given: Images, folders and lists.
        out: The folder of the results. It is not searched.
        recursive: Whether to search folders in folders.

    Raises:
        FileNotFoundError: If a path does not exist, or a folder holds no image.
        ValueError: If two images have the same name, a list has no column of paths or no row, or a
            folder of images is a folder of results.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.cohort.images import list_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "1975").mkdir()
        ...     Path(folder, "1975", "left.jpg").touch()
        ...     images = list_images([Path(folder)], Path(folder, "maps"), recursive=True)
        >>> [image.name for image in images]
        ['1975/left']
    """
    found: dict[tuple[str, str], CohortImage] = {}
    for path in given:
        known = {file for _, file in found}
        for image in _of(path, out, recursive):
            file = os.path.normpath(image.path.absolute())
            if file not in known or path.suffix.lower() in _LISTS:  # lists may name an image again
                found.setdefault((image.name, file), image)
    images = list(found.values())
    names = Counter(image.name for image in images)
    if twice := [name for name, times in names.items() if times > 1]:
        raise ValueError(
            "segment: images must have different names without their endings, got "
            f"{listing(twice)} more than once. A list may name them: a CSV file with the columns "
            "image and name"
        )
    for given_text in (str(part) for image in images for part in image):
        if re.search(r"[\r\n]", given_text):
            raise ValueError(f"segment: paths must have no line breaks, got {given_text!r}")
    return images


def check_not_written_over(images: Sequence[CohortImage], outputs: Outputs) -> None:
    """Raise `ValueError` if the file of an image would be written over."""
    out = outputs.out.resolve()
    inside = {path: one for one in images if (path := one.path.resolve()).is_relative_to(out)}
    written = {path.resolve() for one in images for path in outputs.of(one.name)} if inside else ()
    if lost := [one for path, one in inside.items() if path in written]:
        raise ValueError(
            f"--out must be another folder, got {outputs.out}: {lost[0].path} would be written over"
        )


def with_masks(images: Sequence[CohortImage], folder: Path) -> list[CohortImage]:
    """The images with their fields of view from a folder, which may have the images' subfolders.

    Raises:
        FileNotFoundError: If an image has none.
        ValueError: If an image has several, or two images share one.
    """
    by_place = defaultdict(list)
    for image in images:
        by_place[Path(image.name).parent].append(image)
    found: dict[str, Path] = {}
    owners: dict[Path, Path] = {}
    for place, here in by_place.items():
        inner = folder / place if (folder / place).is_dir() else folder
        stems = {Path(image.name).name: image.path for image in here}
        for stem, mask in find_masks(inner, stems).items():
            found[(place / stem).as_posix()] = mask
            if (other := owners.setdefault(mask, stems[stem])) != stems[stem]:
                raise ValueError(
                    f"--masks {folder}: {mask.name} fits both {other} and {stems[stem]}. Put masks "
                    "into folders as the images"
                )
    if bare := [str(image.path) for image in images if image.name not in found]:
        raise FileNotFoundError(
            f"--masks {folder}: this folder holds no field of view of {listing(bare)}"
        )
    return [image._replace(mask=found[image.name]) for image in images]


def _of(path: Path, out: Path, recursive: bool) -> Iterator[CohortImage]:
    """The images that one path stands for."""
    if path.is_dir():
        here, results = path.resolve(), out.resolve()
        if here == results or (here.parent == results and here.name in KINDS):
            raise ValueError(f"--out must be another folder than that of the images, got {out}")
        if _holds_results(path):
            raise ValueError(
                f"{path}: this folder holds results of segment. Move the images or the results"
            )
        folders = _folders(path, out, set()) if recursive else [path]
        found = [file for folder in folders for file in image_files(folder)]
        if not found:
            raise FileNotFoundError(f"{path}: this folder holds no image.{_hint(path)}")
        for file in found:
            yield CohortImage(file.relative_to(path).with_suffix("").as_posix(), file)
    elif path.is_file() and path.suffix.lower() in _LISTS:
        yield from _listed(path)
    elif path.is_file():
        yield CohortImage(path.stem, path)
    else:
        has_pattern = re.search(r"[*?\[]", path.name)
        said = ": no file fits this pattern" if has_pattern else ": this file does not exist"
        raise FileNotFoundError(f"images: {path}{said}")


def _folders(path: Path, out: Path, seen: set[Path]) -> Iterator[Path]:
    """A folder and its subfolders, each once, without hidden folders and folders of results."""
    if (here := path.resolve()) in seen:
        return
    if here == out.resolve():
        if image_files(path) and not (path / FILE).is_file():
            raise ValueError(f"--out must be a folder without other images, got {out}")
        return
    seen.add(here)
    yield path
    for inner in sibling_folders(path):
        if not _holds_results(inner) or inner.resolve() == out.resolve():
            yield from _folders(inner, out, seen)


def _holds_results(folder: Path) -> bool:
    """Whether segment has written to a folder."""
    return (folder / FILE).is_file() and (folder / RECORDS).is_file()


def _hint(path: Path) -> str:
    inner = [place for place in sorted(path.iterdir()) if place.is_dir() and image_files(place)]
    likely = [place for place in inner if place.name.lower().startswith("im")] or inner
    meant = f" Did you mean {' or '.join(map(str, likely[:3]))}?" if likely else ""
    deeper = any(place.is_dir() for place in path.iterdir())
    return meant + (" With --recursive, the folders in it are searched too." if deeper else "")


def _listed(path: Path) -> Iterator[CohortImage]:
    """The images that a list names."""
    rows = _table(path) if path.suffix.lower() == ".csv" else _lines(path)
    for number, row in rows:
        image, mask, name = (row.get(column, "") for column in ("image", "mask", "name"))
        relative = Path(image)
        if not relative.name or relative.name == "..":
            raise ValueError(f"{path}: row {number} has no image, got {image!r}")
        own = relative.with_suffix("")
        # Without "..": files are written under this name, so it must not lead out of a folder.
        given = Path(name or (own.name if own.is_absolute() else own))
        parts = [part for part in given.parts if part not in ("..", given.anchor)]
        if not parts:
            raise ValueError(f"{path}: row {number}: name must be that of a file, got {name!r}")
        yield CohortImage(
            "/".join(parts), path.parent / image, path.parent / mask if mask else None
        )


Rows = list[tuple[int, dict[str, str]]]


def _table(path: Path) -> Rows:
    """The rows of a CSV file with the numbers of their lines; paths are in column image."""
    table = read_table(path)
    columns = [name for name in _PATH_COLUMNS if name in table.columns]
    if not columns:
        raise ValueError(
            f"{path}: must have a column {' or '.join(_PATH_COLUMNS)}, and may have mask and name, "
            f"separated by commas; got {', '.join(table.columns) or 'none'}"
        )
    require_rows(path, table)
    return [(number, {**row, "image": row[columns[0]]}) for number, row in table.rows]


def _lines(path: Path) -> Rows:
    """The paths on the lines of a text file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path}: must be a list of paths in UTF-8 ({cause})") from cause
    lines = enumerate(text.split("\n"), 1)
    found = [(number, {"image": line.strip()}) for number, line in lines if line.strip()]
    if not found:
        raise ValueError(f"{path}: must have at least 1 path, got 0")
    return found
