"""The folders beside the images: vessel masks, fields of view, a second observer's vessel masks."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Literal, NamedTuple

from .decode import decode
from .fov import fov_fault
from .search import EXTENSION, listing

IMAGE = r"([^.].*)" + EXTENSION  # its stem; a leading dot hides a file

Role = Literal["image", "label", "fov", "second"]
Kind = Role | Literal["mask"]  # a vessel mask or a field of view: its content decides

# Names of folders, in any case; spaces, dashes and underscores do not matter.
NAMES: dict[Kind, tuple[str, ...]] = {
    "image": ("images", "image", "img", "imgs", "original", "originals"),
    "label": (
        *("labels", "label", "1st_manual", "manual1", "manual", "1st_label", "labels-ah"),
        *("vessel", "vessels", "vessel-segmentation", "vessel-segmentations"),
        *("GT", "ground truth"),
    ),
    "second": ("2nd_manual", "manual2", "2nd_label", "labels-vk"),
    "fov": ("fov", "fovs", "fov_mask", "fov_masks"),
    "mask": ("mask", "masks"),
}
WHAT: dict[Role, str] = {
    "image": "images",
    "label": "vessel masks",
    "fov": "fields of view",
    "second": "second observer's vessel masks",
}
# The parts of a data set, and how the names of their folders end: imagesTs/ is nnU-Net's test set.
_ENDINGS = {"": ("", "tr"), "test": ("ts",)}
# Other folder names that may be meant for vessel masks.
_MASK_LIKE = re.compile("mask|label|manual|vessel|truth|annotation|segment|gt$", re.IGNORECASE)
_REMEDY = "or list your files in a table and use --dataset csv."


class Folders(NamedTuple):
    """The folders of one set of images; `part` is ``"test"`` if their names say so."""

    part: str
    images: Path
    labels: Path | None
    fovs: Path | None
    seconds: Path | None


def plain(name: str) -> str:
    """A folder's name without the characters that do not matter."""
    return re.sub("[ _-]", "", name).lower()


_KINDS: dict[str, tuple[str, Kind]] = {
    plain(name) + ending: (part, kind)
    for part, endings in _ENDINGS.items()
    for ending in endings
    for kind, names in NAMES.items()
    for name in names
}


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, sorted."""
    return [
        path
        for path in sorted(folder.iterdir())
        if re.fullmatch(IMAGE, path.name, re.IGNORECASE | re.DOTALL) and not path.is_dir()
    ]


def sibling_folders(place: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones; none if it does not exist."""
    inner = sorted(place.iterdir()) if place.is_dir() else []
    return [path for path in inner if path.is_dir() and not path.name.startswith(".")]


def find_roles(place: Path) -> list[Folders]:
    """The folders with images in `place` and the folders of their masks; none without images.

    Raises:
        ValueError: If two folders could hold the same thing, or it is unclear what one holds.
    """
    inner = sibling_folders(place)
    parts: dict[str, dict[Kind, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in inner:
        if plain(path.name) in _KINDS:
            part, kind = _KINDS[plain(path.name)]
            parts[part][kind].append(path)
    found = [_assigned(part, kinds) for part, kinds in parts.items() if "image" in kinds]
    for folders in found:
        if folders.labels is None:
            _refuse_unknown_masks(folders.images, inner)
    return found


def _assigned(part: str, kinds: dict[Kind, list[Path]]) -> Folders:
    """Give each role to the only folder that fits it; empty folders fit no role."""
    filled = {kind: [path for path in paths if image_files(path)] for kind, paths in kinds.items()}
    roles: dict[Role, list[Path]] = {role: filled.get(role, []) for role in WHAT}
    for path in filled.get("mask", []):
        roles[_role_of_masks(path, roles["label"])].append(path)
    for role, paths in roles.items():
        if len(paths) > 1:
            raise ValueError(
                f"{' and '.join(map(str, paths))}: each of these folders could hold the "
                f"{WHAT[role]}. Rename or remove all but one, {_REMEDY}"
            )
    images, labels, fovs, seconds = (
        next(iter(roles[role]), None) for role in ("image", "label", "fov", "second")
    )
    return Folders(part, images or kinds["image"][0], labels, fovs, seconds)


def _role_of_masks(folder: Path, labels: list[Path]) -> Literal["label", "fov"]:
    """What a folder mask/ or masks/ holds: masks/ beside labels/ has always been fields of view."""
    if folder.name.lower() == "masks" and "labels" in (path.name.lower() for path in labels):
        return "fov"
    files = image_files(folder)
    some = {files[0], files[len(files) // 2], files[-1]}
    found = {role for path in some if (role := _role_of_mask(path))}
    if len(found) > 1:
        raise ValueError(
            f"{folder}: some files look like vessel masks and some like fields of view. Move the "
            f"vessel masks to a folder labels/, {_REMEDY}"
        )
    return found.pop() if found else "fov"


def _role_of_mask(path: Path) -> Literal["label", "fov"] | None:
    """The role that one mask shows; None if it is black."""
    grey = decode(path, "L")
    if not grey.any():
        return None
    return "label" if fov_fault(grey > grey.max() / 2) else "fov"


def _refuse_unknown_masks(images: Path, inner: list[Path]) -> None:
    """Raise an error if a folder beside unlabelled images may be meant for their vessel masks."""
    unknown = [
        f"{path.name}/"
        for path in inner
        if plain(path.name) not in _KINDS and _MASK_LIKE.search(path.name) and image_files(path)
    ]
    if unknown:
        raise ValueError(
            f"{images}: no folder of vessel masks is known beside it, but there is "
            f"{listing(unknown)}. Rename the vessel masks' folder to labels/, fields of view's to "
            f"fov/, and move others elsewhere, {_REMEDY}"
        )
