"""Vessel masks in folders, with their fields of view."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.decode import decode, read_mask
from ..data.folders import by_image
from ..data.fov import fov_fault
from ..data.predictions import KINDS
from ..data.roles import IMAGE
from ..data.search import find_files, listing
from .measure import measure_vessels
from .values import VesselMeasures

_MOST = 0.5  # of the field of view is vessel; a mask with more is inverted, or not of vessels
_WRITTEN = re.compile(f".+-({'|'.join(KINDS)})")


@dataclass(frozen=True)
class MaskFiles:
    """The files of a vessel mask and its field of view, which may be missing.

    Attributes:
        name: Name of the image.
        vessels: The vessel mask.
        fov: The field of view, or None for the whole image.
    """

    name: str
    vessels: Path
    fov: Path | None

    def measure(self, min_size: float | None = None) -> VesselMeasures:
        """Read the files and measure the vessels, see `measure_vessels`.

        Raises:
            OSError: If a file cannot be read.
            ValueError: If a file is not a mask, the two differ in height or width, or more than
                half of the field of view is vessel.
        """
        size = decode(self.vessels, "L").shape
        vessels = read_mask(self.vessels, self.vessels, size)
        fov = np.ones(size, np.bool_)
        if self.fov is not None:
            fov = read_mask(self.fov, self.vessels, size)
            if fault := fov_fault(fov):
                raise ValueError(f"{self.fov}: not a field of view. {fault}")
        share = np.count_nonzero(vessels & fov) / np.count_nonzero(fov)
        if share > _MOST:
            raise ValueError(
                f"{self.vessels}: {share:.0%} of the field of view is white. Vessels must be white "
                "on black: invert the mask, or take another file"
            )
        return measure_vessels(vessels, fov, min_size=min_size)


class MaskFolder(NamedTuple):
    """The vessel masks of a folder, and its other images that ``segment`` did not write."""

    files: list[MaskFiles]
    others: list[Path]


def list_masks(masks: Path, fovs: Path | None = None) -> MaskFolder:
    """The vessel masks of a folder, sorted by name, with their fields of view.

    In a folder that the command ``segment`` wrote, the vessel masks are the files
    ``NAME-vessels.png``, and the images are called NAME; or they are in its folder ``vessels``. In
    any other folder, all image files are vessel masks. A field of view has the name of its vessel
    mask, perhaps with a suffix, or only the same number. Without a folder of fields of view, the
    ones that ``segment`` wrote are taken, if there are any.

    Args:
        masks: The folder of vessel masks.
        fovs: The folder of fields of view.

    Raises:
        FileNotFoundError: If a folder does not exist or holds no image, or a field of view is
            missing.
        ValueError: If a field of view fits several vessel masks, or several fit one; or if the
            folder holds vessel masks of both layouts.
    """
    others = [path for stem, path in _found(masks).items() if not _WRITTEN.fullmatch(stem)]
    written, inner = _written(masks, "vessels"), masks / "vessels"
    if written and inner.is_dir():
        raise ValueError(
            f"{masks}: this folder holds files NAME-vessels and a folder vessels. Pass {inner}, or "
            "remove one of the two"
        )
    if inner.is_dir():
        masks = inner
    elif not written:
        others = []
    vessels = written or _all(masks)
    found = _fields_of_view(masks, fovs)
    fitting = by_image(found, vessels)
    if found and (bare := [str(vessels[name]) for name in vessels if name not in fitting]):
        raise FileNotFoundError(
            f"{next(iter(found.values())).parent}: this folder holds no field of view of "
            f"{listing(bare)}"
        )
    files = [MaskFiles(name, vessels[name], fitting.get(name)) for name in sorted(vessels)]
    return MaskFolder(files, others)


def _fields_of_view(masks: Path, fovs: Path | None) -> dict[str, Path]:
    if fovs is not None:
        return _written(fovs, "fov") or _all(fovs)
    place = masks.resolve()
    beside = place.with_name("fov")
    if place.name == "vessels" and beside.is_dir():
        return _all(beside)
    return _written(masks, "fov")


def _written(folder: Path, kind: str) -> dict[str, Path]:
    """The files of a kind that ``segment`` wrote to a folder, by the names of their images."""
    suffix = re.compile(rf"(.+)-{kind}")
    named = ((suffix.fullmatch(stem), path) for stem, path in _found(folder).items())
    return {match[1]: path for match, path in named if match}


def _all(folder: Path) -> dict[str, Path]:
    if not (found := _found(folder)):
        tables = sorted(folder.glob("*.csv"))
        hint = f". Did you mean {tables[0]}?" if tables else ""
        raise FileNotFoundError(f"{folder}: this folder holds no image{hint}")
    return found


def _found(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        fault = "must be a folder, got a file" if folder.exists() else "this folder does not exist"
        raise FileNotFoundError(f"{folder}: {fault}")
    return find_files(folder, IMAGE, identifier=str)
