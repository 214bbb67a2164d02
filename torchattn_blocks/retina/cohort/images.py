"""The images that the command ``segment`` is given: files, folders, folder trees and lists."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.csv_table import read_table, require_rows
from ..data.folders import find_masks
from ..data.roles import image_files
from ..data.search import listing

_LISTS = (".csv", ".txt")
_PATH_COLUMNS = ("image", "path")


class CohortImage(NamedTuple):
    """An image to be segmented.

    Attributes:
        name: What its files are named after. It may have folders before it.
        path: The image.
        mask: Its field of view, or None to estimate it.
    """

    name: str
    path: Path
    mask: Path | None = None


def list_images(given: Sequence[Path], *, recursive: bool = False) -> list[CohortImage]:
    """The images that paths stand for, each once, in the order of the paths.

    A folder stands for the images in it, with `recursive` also for those in its folders. A CSV file
    with a column ``image`` or ``path`` stands for the images that it names, and so does a text file
    with a path on each line. Their relative paths begin in the folder of the list. Files in lists
    need not exist.

    Args:
        given: Images, folders and lists.
        recursive: Whether to search folders in folders.

    Raises:
        FileNotFoundError: If a path does not exist, or a folder holds no image.
        ValueError: If two images have the same name, or a list has no column of paths or no row.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.cohort.images import list_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "1975").mkdir()
        ...     Path(folder, "1975", "left.jpg").touch()
        ...     [image.name for image in list_images([Path(folder)], recursive=True)]
        ['1975/left']
    """
    found: dict[Path, CohortImage] = {}
    for path in given:
        for image in _of(path, recursive):
            found.setdefault(image.path.absolute(), image)
    images = list(found.values())
    names = Counter(image.name for image in images)
    if twice := [name for name, times in names.items() if times > 1]:
        raise ValueError(
            "segment: images must have different names without their endings, got "
            f"{listing(twice)} more than once. A list may name them: a CSV file with the columns "
            "image and name"
        )
    if broken := [image.path for image in images if re.search(r"[\r\n]", str(image.path))]:
        raise ValueError(f"segment: paths must have no line breaks, got {str(broken[0])!r}")
    return images


def without_outputs(images: Sequence[CohortImage], written: Sequence[Path]) -> list[CohortImage]:
    """The images that are not among the files that are written for them."""
    files = {path.absolute() for path in written}
    return [image for image in images if image.path.absolute() not in files]


def with_masks(images: Sequence[CohortImage], folder: Path) -> list[CohortImage]:
    """The images with their fields of view from a folder, which may have the images' folders.

    Raises:
        FileNotFoundError: If an image has none.
        ValueError: If an image has several.
    """
    by_place = defaultdict(list)
    for image in images:
        by_place[Path(image.name).parent].append(image)
    found: dict[str, Path] = {}
    for place, here in by_place.items():
        inner = folder / place if (folder / place).is_dir() else folder
        stems = {Path(image.name).name: image.path for image in here}
        masks = find_masks(inner, stems)
        found |= {(place / stem).as_posix(): path for stem, path in masks.items()}
    if bare := [str(image.path) for image in images if image.name not in found]:
        raise FileNotFoundError(
            f"--masks {folder}: this folder holds no field of view of {listing(bare)}"
        )
    return [image._replace(mask=found[image.name]) for image in images]


def _of(path: Path, recursive: bool) -> Iterator[CohortImage]:
    """The images that one path stands for."""
    if path.is_dir():
        found = [file for folder in _folders(path, recursive) for file in image_files(folder)]
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


def _folders(path: Path, recursive: bool) -> Iterator[Path]:
    """A folder, and all in it that are not hidden."""
    yield path
    if recursive:
        for inner in sorted(path.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _folders(inner, recursive)


def _hint(path: Path) -> str:
    inner = [place for place in sorted(path.iterdir()) if place.is_dir() and image_files(place)]
    likely = [place for place in inner if place.name.lower().startswith("im")] or inner
    meant = f" Did you mean {' or '.join(map(str, likely[:3]))}?" if likely else ""
    deeper = any(place.is_dir() for place in path.iterdir())
    return meant + (" With --recursive, the folders in it are searched too." if deeper else "")


def _listed(path: Path) -> Iterator[CohortImage]:
    """The images that a list names."""
    rows = _table(path) if path.suffix.lower() == ".csv" else _lines(path)
    for row in rows:
        image, mask = (
            path.parent / row[key] if row.get(key) else None for key in ("image", "mask")
        )
        if image is None:
            raise ValueError(f"{path}: row {row['row']} has no image")
        relative = Path(row["image"])
        # Without "..": files are written under the name, which must not lead out of a folder.
        given = Path(row.get("name") or (relative.name if relative.is_absolute() else relative))
        parts = [part for part in given.parts if part not in ("..", given.anchor)]
        name = Path(*parts)
        yield CohortImage(
            (name if row.get("name") else name.with_suffix("")).as_posix(), image, mask
        )


def _table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; the column of paths is called image."""
    table = read_table(path)
    columns = [name for name in _PATH_COLUMNS if name in table.columns]
    if not columns:
        raise ValueError(
            f"{path}: must have a column {' or '.join(_PATH_COLUMNS)}, and may have mask and name, "
            f"separated by commas; got {', '.join(table.columns) or 'none'}"
        )
    require_rows(path, table)
    return [{**row, "image": row[columns[0]], "row": str(number)} for number, row in table.rows]


def _lines(path: Path) -> list[dict[str, str]]:
    """The paths on the lines of a text file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path}: must be a list of paths in UTF-8 ({cause})") from cause
    found = [{"image": line.strip()} for line in lines if line.strip()]
    if not found:
        raise ValueError(f"{path}: must have at least 1 path, got 0")
    return found
