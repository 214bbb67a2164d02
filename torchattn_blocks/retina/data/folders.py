"""Your own images, in folders such as ``images/``, ``labels/`` and ``masks/`` side by side."""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..fundus import Fundus
from ..write import write_png
from .files import FundusFiles
from .roles import IMAGE, NAMES, Folders, find_roles, plain, sibling_folders
from .search import Remedies, find_files, first_listed, listing, match_files, require_files

File = TypeVar("File")


def _or(names: Sequence[str]) -> str:
    return ", ".join(f"{name}/" for name in names)


_LAYOUT = f"""\
The folder, or folders in it at any depth such as training/ and test/, must contain
  images/  NAME.png, or .jpg, .tif, .gif, .bmp, .ppm, .webp, .jp2: the colour images
  labels/  NAME.png, or NAME_label.png or similar: vessels bright on dark; optional
  masks/   NAME.png, or NAME_mask.png or similar: fields of view; optional
Other names for images/: {_or(NAMES["image"][1:])}
for labels/: {_or(NAMES["label"][1:])}
for masks/: {_or(NAMES["mask"][:1] + NAMES["fov"])}
Files in any other places can be listed in a table: use --dataset csv."""
_FOV_WORDS = ("fov", "mask", "roi")
_FOV_SUFFIX = rf"(?:[ _.-]?(?:{'|'.join(_FOV_WORDS)}))+"
_REMEDIES = Remedies(
    stray="Rename it to the stem of its image, or remove it.",
    bare="Add the file, or remove the image.",
)


def list_folder(root: str | Path) -> list[FundusFiles]:
    """List the images of folders such as ``images/``, ``labels/`` and ``masks/``, at any depth.

    Vessel masks are in ``labels/`` and fields of view in ``masks/``, both beside ``images/``; each
    of the two may be missing. Many other names work too, such as ``1st_manual/`` for vessel masks
    and ``2nd_manual/`` for a second observer's vessel masks: the page on data sets has a table. A
    folder ``mask/`` or ``masks/`` may hold vessel masks or fields of view. A few of its files are
    opened to find out, unless it is ``masks/`` beside ``labels/``.

    A mask has the stem of its image (``07.png`` for ``07.jpg``), or this stem and a suffix that
    starts with ``_``, ``-`` or a dot (``07_manual1.gif``), or only the same number
    (``07_manual1.gif`` for ``07_training.tif``). Hidden files, hidden folders and files that are
    not images are ignored. Links to folders are followed, but no folder is listed twice.

    Args:
        root: The folder with ``images/``, or with folders that hold such folders.

    Returns:
        The files of each image, sorted by name. The name is the path from `root` to the folder with
        ``images/``, then the stem: ``"07"`` in `root` itself, ``"test/07"`` in ``test/``. Images in
        ``imagesTs/`` (nnU-Net's test set) have ``test/`` before the stem.

    Raises:
        FileNotFoundError: If `root` does not exist or holds no folder ``images/`` or no image, or
            an image lacks a mask that other images of the same folder have.
        ValueError: If two folders could hold the same kind of mask, images without vessel masks lie
            beside a folder of an unknown name that may hold them, a mask has no image or fits
            several, an image has several masks, or two files of a folder have the same stem.

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
    try:
        return _list_below(root)
    except FileNotFoundError as error:
        # Search only directly in them: a search below them might take long.
        if above := first_listed(root.resolve().parents[:2], _list):
            raise FileNotFoundError(f"{error}\nDid you mean {above}?") from None
        raise


def save_folder(root: str | Path, images: Iterable[Fundus]) -> None:
    """Write images to PNG files, in folders that `list_folder` lists under the same names.

    The image goes to ``images/NAME.png``, its vessel mask, if it has one, to ``labels/NAME.png``
    and its field of view to ``masks/NAME.png``, both with the values 0 and 255. An image named
    ``"test/07"`` goes to ``test/images/07.png``. The second observer's mask is not written.

    Args:
        root: The folder to write to. It is created if it does not exist.
        images: The images. A generator is consumed one image at a time.

    Raises:
        FileExistsError: If a file exists. It is not overwritten.
        ValueError: If a name cannot be a file name, or only some images of one folder have vessel
            masks.

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
                f"unlike those before it in {place}. Write them to different folders."
            )
        pictures = {place / kind / f"{stem}.png": array for kind, array in _pictures(fundus)}
        for path in pictures:  # all before the first is written
            if path.exists():
                raise FileExistsError(
                    f"{path}: this file exists. Remove it, or write to another folder."
                )
        for path, array in pictures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, array)


def _list_below(root: Path) -> list[FundusFiles]:
    """The images of all folders at any depth, sorted by name."""
    walked = list(_walk(root))
    sets = {place: found for place in walked if (found := find_roles(place))}
    names = sorted(f"{place.relative_to(root).as_posix()}/" for place in walked if place != root)
    layout = f"Folders in it: {listing(names) or 'none'}.\n{_LAYOUT}"
    require_files(sets, "folder images/", root, layout)
    files = [
        # The folder is part of the name: another folder may hold an image with the same stem.
        replace(file, name=(place.relative_to(root) / file.name).as_posix())
        for place, found in sets.items()
        for folders in found
        for file in _match(folders)
    ]
    require_files(files, "image", root, layout)
    return sorted(files, key=lambda file: file.name)


def _walk(root: Path) -> Iterator[Path]:
    """The folder and all folders in it, each once, however many links lead to it."""
    pending, seen = deque([root]), set[Path]()
    while pending:
        place = pending.popleft()
        if (real := place.resolve()) in seen:
            continue
        seen.add(real)
        yield place
        for path in sibling_folders(place):
            # Links come last, so that a folder is listed under its own path if it has one.
            (pending.append if path.is_symlink() else pending.appendleft)(path)


def _list(place: Path) -> list[FundusFiles]:
    """The images whose folder lies directly in `place`."""
    return [file for folders in find_roles(place) for file in _match(folders)]


def _match(folders: Folders) -> list[FundusFiles]:
    """The images of one folder with the masks from the folders beside it."""
    images = find_files(folders.images, IMAGE, identifier=_identifier(folders.images))
    labels, fovs, seconds = (
        by_image({} if masks is None else find_files(masks, IMAGE, identifier=str), images)
        for masks in (folders.labels, folders.fovs, folders.seconds)
    )
    files = match_files(images, labels, fovs, seconds, _REMEDIES)
    return [replace(file, name="/".join(filter(None, (folders.part, file.name)))) for file in files]


def _identifier(images: Path) -> Callable[[str], str]:
    """How the stem of an image becomes its name: nnU-Net adds the number of a channel, 0000."""
    is_nnunet = plain(images.name).endswith(("tr", "ts"))
    return (lambda stem: stem.removesuffix("_0000")) if is_nnunet else str


def by_image(masks: Mapping[str, File], images: Mapping[str, File]) -> dict[str, File]:
    """Masks by the stem of their image; by their own stem if they have no image.

    Args:
        masks: By their stems. Errors show a value as text, such as a path.
        images: The images by their stems.

    Raises:
        ValueError: If a mask fits several images, or several masks fit one image.
    """
    exact = masks.keys() & images.keys()
    found = {stem: masks[stem] for stem in exact}
    for stem, path in masks.items():
        starts = (stem[: suffix.start()] for suffix in re.finditer(r"[_.-]", stem))
        owners = [start for start in starts if start in images]
        if not owners and (number := _number(stem)):
            owners = [image for image in images if _number(image) == number]
        bare = [owner for owner in owners if owner not in exact]
        if stem in exact or (owners and not bare):
            continue  # each image that it fits has a mask of exactly its stem
        if len(bare) > 1:
            raise ValueError(
                f"{path}: fits {' and '.join(str(images[owner]) for owner in bare)}. "
                "Rename it to the stem of its image."
            )
        owner = bare[0] if bare else stem
        if owner in found:
            raise ValueError(
                f"{path}: {found[owner]} fits {images[owner]} too. Remove one, or rename one to "
                "the stem of the image."
            )
        found[owner] = path
    return found


def _number(stem: str) -> str | None:
    """The first number in a stem, with an L or R for the eye, such as 21 of 021_training."""
    found = re.search(r"\d+[LR]?(?![a-z])", stem, re.IGNORECASE)
    return found[0].upper().lstrip("0") or "0" if found else None


def _split_name(name: str) -> list[str]:
    """The folders and the stem that an image's name is made of."""
    parts = name.split("/")
    # Allow nothing that leads out of the root, is hidden for `list_folder`, or is forbidden on some
    # system.
    if not name.isprintable() or not all(re.fullmatch(r"[^.\\:][^\\:]*", part) for part in parts):
        raise ValueError(
            "save_folder: an image's name must be file names joined by /, none of which starts "
            rf"with a dot or contains \ or a colon, got {name!r}. Rename the image."
        )
    return parts


def _pictures(fundus: Fundus) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The image and its masks to write, each with the name of its folder."""
    yield "images", fundus.image
    for kind, mask in (("labels", fundus.label), ("masks", fundus.fov)):
        if mask is not None:
            yield kind, np.where(mask, np.uint8(255), np.uint8(0))


def find_masks(folder: Path, images: dict[str, Path]) -> dict[str, Path]:
    """Fields of view in a folder by the stems of these images, which may be a part of a set.

    A mask has the stem of its image, or this stem and a suffix such as ``_mask`` or ``-fov``.
    """
    files = find_files(folder, IMAGE, identifier=str)
    suffixed = defaultdict(list)
    for stem, path in files.items():
        for owner in _without_suffix(stem.lower()):
            suffixed[owner].append(path)
    found = {}
    for stem in images:
        fitting = [files[stem]] if stem in files else suffixed[stem.lower()]
        if len(fitting) > 1:
            raise ValueError(
                f"{' and '.join(map(str, fitting))}: both fit {images[stem]}. Remove one."
            )
        if fitting:
            found[stem] = fitting[0]
    return found


def _without_suffix(name: str) -> set[str]:
    """The names that a name in small letters can have without `_FOV_SUFFIX`."""
    bare = {name.removesuffix(word) for word in _FOV_WORDS if name.endswith(word)}
    bare |= {one[:-1] for one in bare if one[-1:] and one[-1] in " _.-"}
    return bare.union(*map(_without_suffix, bare))
