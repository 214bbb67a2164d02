"""Images in folders of one's own: ``images/``, ``labels/`` and ``masks/``, side by side."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..fundus import Fundus
from .files import EXTENSION, FundusFiles, find_files, match_files, require_files

_LAYOUT = """\
The root must hold, itself or in folders at any depth, such as training/ and test/,
  images/  NAME.png, or .jpg, .tif, .gif, .bmp, .ppm: the colour images
  labels/  NAME.png, or NAME_label.png or the like: vessels bright on dark; may be left out
  masks/   NAME.png, or NAME_mask.png or the like: fields of view; may be left out"""
_PICTURE = r"([^.].*)" + EXTENSION  # its stem; a leading dot hides a file


def list_folder(root: str | Path) -> list[FundusFiles]:
    """List the images of any tree of folders ``images/``, ``labels/`` and ``masks/``.

    An image lies in a folder ``images/``, in the root or at any depth; its vessel mask and its
    field of view lie in ``labels/`` and ``masks/`` beside that folder. They have the image's
    stem, as ``07.png`` has of ``07.jpg``, or else the stem and a suffix that starts with ``_``,
    ``-`` or a dot, as ``07_manual1.gif``. Beside some ``images/``, either of the two may be missing
    altogether. Hidden files and folders and what is no image are left aside; links to folders are
    followed, but no folder is entered twice.

    Args:
        root: The folder at the top.

    Returns:
        The files of each image, sorted by name. The name is the stem, after the path from the
        root to the folder that holds ``images/``: ``"07"`` in the root, ``"test/07"`` in ``test/``.

    Raises:
        FileNotFoundError: If the root is missing or holds no folder ``images/`` or no image,
            or an image lacks a map that others beside it have.
        ValueError: If a map has no image, or might be of several, or an image might have
            several maps, or two files of a folder have one stem.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_folder
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for file in ("images/07.jpg", "labels/07_manual.png"):
        ...         path = Path(root, "test", file)
        ...         path.parent.mkdir(parents=True)
        ...         Image.new("L", (48, 32)).save(path)
        ...     [files] = list_folder(root)
        >>> files.name, files.label.name, files.fov
        ('test/07', '07_manual.png', None)
    """
    root = Path(root)
    places = list(_places(root))
    require_files(places, "folder images/", root, _LAYOUT)
    files = [
        # The name tells where the image lies, for elsewhere there may be another of its stem.
        replace(file, name=(place.relative_to(root) / file.name).as_posix())
        for place in places
        for file in _list(place)
    ]
    require_files(files, "image", root, _LAYOUT)
    return sorted(files, key=lambda file: file.name)


def save_folder(root: str | Path, images: Iterable[Fundus]) -> None:
    """Write images, without loss, as a tree that `list_folder` lists under the same names.

    An image is written to ``images/NAME.png``, its vessel mask, where it has one, to
    ``labels/NAME.png`` and its field of view to ``masks/NAME.png``, both as 0 and 255. An image
    named ``"test/07"`` goes to ``test/images/07.png``. A second observer's mask is not written.

    Args:
        root: The folder to write to; it is made where there is none.
        images: What to write, one after the other: they need not be in memory at once.

    Raises:
        FileExistsError: If a file is there already. It is left as it is.
        ValueError: If a name is no name of a file, an array is of another type or shape than
            :class:`Fundus` says, or of images for one folder some have labels and some none.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import list_folder, save_folder
        >>> fundus = synthesize(0, height=64, width=64)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     save_folder(root, [fundus])
        ...     [files] = list_folder(root)
        ...     again = files.read()
        >>> again.name == fundus.name, bool((again.label == fundus.label).all())
        (True, True)
    """
    labelled: dict[Path, bool] = {}
    for fundus in images:
        *above, stem = _split_name(fundus.name)
        place = Path(root, *above)
        has_label = fundus.label is not None
        if labelled.setdefault(place, has_label) != has_label:
            raise ValueError(
                f"save_folder: image {fundus.name} has {'a' if has_label else 'no'} label, "
                f"other than those before it in {place}. Write them to different folders."
            )
        pictures = {place / kind / f"{stem}.png": array for kind, array in _pictures(fundus)}
        for path in pictures:  # all before the first is written
            if path.exists():
                raise FileExistsError(
                    f"{path}: there is such a file already. Take it away, or write elsewhere."
                )
        for path, array in pictures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def _places(root: Path) -> Iterator[Path]:
    """Folders that hold a folder images/, each once, however many links lead to it."""
    pending, seen = deque([root]), set[Path]()
    while pending:
        place = pending.popleft()
        if (real := place.resolve()) in seen:
            continue
        seen.add(real)
        if (place / "images").is_dir():
            yield place
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_dir() and not path.name.startswith("."):
                # Links wait until all else was seen: a folder goes by its own name if it has one.
                (pending.append if path.is_symlink() else pending.appendleft)(path)


def _list(place: Path) -> list[FundusFiles]:
    """The images of one folder images/, by stem, with their maps from the folders beside."""
    images, labels, masks = (
        find_files(place / kind, _PICTURE, identifier=str) for kind in ("images", "labels", "masks")
    )
    return match_files(images, _by_image(labels, images), _by_image(masks, images), {})


def _by_image(maps: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """Maps by the stem of their image instead of their own; by their own if there is none."""
    exact = maps.keys() & images.keys()
    found = {stem: maps[stem] for stem in exact}
    for stem, path in maps.items():
        starts = (stem[: suffix.start()] for suffix in re.finditer(r"[_.-]", stem))
        owners = [start for start in starts if start in images]
        bare = [owner for owner in owners if owner not in exact]
        if stem in exact or (owners and not bare):
            continue  # each image it might be of has a map of its very stem
        if len(bare) > 1:
            raise ValueError(
                f"{path}: might be of {' or of '.join(str(images[owner]) for owner in bare)}. "
                "Give it the stem of its image."
            )
        owner = bare[0] if bare else stem
        if owner in found:
            raise ValueError(
                f"{path}: {found[owner]} might be of {images[owner]} too. Keep one, or give one "
                "the stem of the image."
            )
        found[owner] = path
    return found


def _split_name(name: str) -> list[str]:
    """The folders and the stem that an image's name is made of."""
    parts = name.split("/")
    # Nothing that leads out of the root, that `list_folder` takes for hidden, or that some system
    # forbids.
    if not name.isprintable() or not all(re.fullmatch(r"[^.\\:][^\\:]*", part) for part in parts):
        raise ValueError(
            "save_folder: an image's name must be names of files, joined by /, that start with "
            rf"no dot and hold no \ and no colon, got {name!r}. Rename the image."
        )
    return parts


def _pictures(fundus: Fundus) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The pictures of an image, each after the name of the folder where it belongs."""
    size = fundus.image.shape[:2]
    if fundus.image.shape != (*size, 3) or fundus.image.dtype != np.uint8:
        raise ValueError(
            f"save_folder: image of {fundus.name} must be of shape (H, W, 3) and type uint8, "
            f"got shape {fundus.image.shape} and type {fundus.image.dtype}"
        )
    yield "images", fundus.image
    for kind, name, values in (("labels", "label", fundus.label), ("masks", "fov", fundus.fov)):
        if values is None:
            continue
        if values.shape != size or values.dtype != np.bool_:
            raise ValueError(
                f"save_folder: {name} of {fundus.name} must be of shape {size} and type bool, "
                f"got shape {values.shape} and type {values.dtype}"
            )
        yield kind, np.where(values, np.uint8(255), np.uint8(0))
