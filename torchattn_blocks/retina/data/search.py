"""Data sets in folders: finding files, and matching images with their masks."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from .files import FundusFiles

# Files with other names (.DS_Store, ._21_training.tif, Thumbs.db, a read-me) are ignored.
EXTENSION = r"\.(?:tiff?|gif|png|jpe?g|bmp|p[bgnp]m|webp|jp2)"

Lister = TypeVar("Lister", bound=Callable[..., list[FundusFiles]])


class Remedies(NamedTuple):
    """What to do about a mask without an image, and about images without a mask."""

    stray: str
    bare: str


_UNPACK = Remedies(
    stray="Unpack the archive again, or remove this file.",
    bare="Unpack the archive again, add the file, or remove the image.",
)


def find_files(
    folder: Path,
    pattern: str,
    identifier: Callable[[str], str] = str.upper,
    *,
    depth: int = 0,
    wanted: Callable[[Path], bool] = lambda _: True,
) -> dict[str, Path]:
    """Files of a folder by the identifier in their names; empty if the folder does not exist.

    `identifier` turns the first group of the pattern into the identifier, by default into capitals.
    Folders in the folder are searched down to `depth`. `wanted` gets a path relative to `folder`.
    """
    found: dict[str, Path] = {}
    for path in filter(lambda path: wanted(path.relative_to(folder)), _files(folder, depth)):
        if parts := re.fullmatch(pattern, path.name, re.IGNORECASE):
            name = identifier(parts[1])
            if name in found:
                raise ValueError(
                    f"{path}: {found[name]} also has the identifier {name}. Remove one of the two."
                )
            found[name] = path
    return found


def _files(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir():
            yield path
        elif depth and not path.name.startswith("."):
            yield from _files(path, depth - 1)


def subfolder(folder: Path, *names: str) -> Path:
    """The folder in `folder` with one of these names, in any case; by default the first name."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    for name in names:
        for path in inner:
            if path.name.lower() == name:
                return path
    return folder / names[0]


def require_files(found: Sized, what: str, where: Path, layout: str) -> None:
    """Raise an error unless the folder exists and files were found in it."""
    if not where.is_dir():
        raise FileNotFoundError(f"{where}: this folder does not exist.\n{layout}")
    if not found:
        raise FileNotFoundError(f"{where}: the folder holds no {what}.\n{layout}")


def listing(names: Sequence[str]) -> str:
    """The names with commas between them; if more than ten, the first ten and how many more."""
    more = [f"and {len(names) - 10} more"] if len(names) > 10 else []
    return ", ".join([*names[:10], *more])


def match_files(
    images: dict[str, Path],
    labels: dict[str, Path],
    fovs: dict[str, Path],
    seconds: dict[str, Path],
    remedies: Remedies = _UNPACK,
) -> list[FundusFiles]:
    """Match each image with its masks. All images or no image must have a kind of mask."""
    kinds = {"vessel mask": labels, "field of view": fovs, "second observer's mask": seconds}
    for kind, masks in kinds.items():
        if strays := masks.keys() - images.keys():
            raise ValueError(
                f"{masks[min(strays)]}: this {kind} has no image {min(strays)}. {remedies.stray}"
            )
        if masks and (bare := sorted(images.keys() - masks.keys())):
            subject = "this image has" if len(bare) == 1 else f"these {len(bare)} images have"
            raise FileNotFoundError(
                f"{listing([str(images[name]) for name in bare])}: {subject} no {kind}, but others "
                f"have one, such as {min(masks.values())}. {remedies.bare}"
            )
    return [
        FundusFiles(name, images[name], labels.get(name), fovs.get(name), seconds.get(name))
        for name in sorted(images)
    ]


def suggests_folder(list_files: Lister) -> Lister:
    """Make the error of a missing data set name a folder near by that holds it."""

    @wraps(list_files)
    def listed(root: str | Path, *args: Any, **options: Any) -> list[FundusFiles]:
        try:
            return list_files(root, *args, **options)
        except FileNotFoundError as error:
            if other := first_listed(
                _near(Path(root)), lambda folder: list_files(folder, *args, **options)
            ):
                raise FileNotFoundError(f"{error}\nDid you mean {other}?") from None
            raise

    return cast(Lister, listed)


def first_listed(
    folders: Iterable[Path], list_files: Callable[[Path], list[FundusFiles]]
) -> Path | None:
    """The first folder in which a function finds images, or None."""
    return next((folder for folder in folders if _lists(folder, list_files)), None)


def _lists(folder: Path, list_files: Callable[[Path], list[FundusFiles]]) -> bool:
    try:
        return bool(list_files(folder))
    except (OSError, ValueError):
        return False


def _near(root: Path) -> Iterator[Path]:
    """The two folders above, the folders in a folder, and the folders in those."""
    yield from root.resolve().parents[:2]
    for pattern in ("*/", "*/*/"):
        yield from sorted(path for path in root.glob(pattern) if path.is_dir())
