"""Probability maps written by any program."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from ..fundus import Fundus
from ..write import write_png
from .decode import RefusedError, corrected, opened_image
from .files import FundusFiles
from .search import EXTENSION

# The value of a probability of 1, by Pillow's mode.
_WHITE = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535, "F": 1}

# What the command ``segment`` writes for an image; the last one only if you ask for it.
KINDS = ("probability", "vessels", "fov", "overlay", "uncertainty")


def find_predictions(folder: Path, files: Iterable[FundusFiles]) -> dict[str, list[Path]]:
    """Files of a folder that may be the probability maps of these images, by image name.

    A map has the name or the file stem of its image, perhaps with a suffix. Each belongs to the
    image with the longest name that fits, so that ``eye_2.png`` does not go to image ``eye`` if
    there is an image ``eye_2``. If an image has several maps, an exact name comes first, and then a
    suffix with ``prob``, as from the command ``segment``.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: this folder does not exist")
    places: dict[Path, dict[str, str]] = {}  # names of images by their stems, for each place
    for one in files:
        *above, stem = one.name.split("/")
        place = folder.joinpath(*above)
        owners = places.setdefault(place if place.is_dir() else folder, {})
        owners |= {stem.lower(): one.name, one.image.stem.lower(): one.name}
    found: dict[str, list[tuple[int, Path]]] = {}
    for place, owners in places.items():
        for path in sorted(place.iterdir()):
            parts = re.fullmatch(rf"([^.].*?)({EXTENSION}|\.npy)", path.name.lower())
            fitting = [owner for owner in owners if parts and _fits(parts[1], owner)]
            if parts and fitting:
                owner = max(fitting, key=len)
                suffix = parts[1][len(owner) :]
                rank = 0 if not suffix else 1 if "prob" in suffix else 2
                found.setdefault(owners[owner], []).append((rank, path))
    return {
        name: [path for rank, path in ranked if rank == min(ranked)[0]]
        for name, ranked in found.items()
    }


def _fits(stem: str, owner: str) -> bool:
    return stem == owner or (stem.startswith(owner) and stem[len(owner)] in "_.-")


def prediction_of(name: str, folder: Path, found: Mapping[str, list[Path]]) -> Path:
    """The file of an image's probability map, among the files that `find_predictions` found."""
    paths = found.get(name, [])
    if len(paths) != 1:
        raise FileNotFoundError(
            f"{folder}: must hold 1 probability map of image {name}, with its name and "
            f"perhaps a suffix, got {', '.join(path.name for path in paths) or 'none'}"
        )
    return paths[0]


def read_prediction(
    folder: Path, found: Mapping[str, list[Path]], fundus: Fundus
) -> NDArray[np.float32]:
    """The probability map of an image, values between 0 and 1."""
    path = prediction_of(fundus.name, folder, found)
    probability = (_npy(path) if path.suffix.lower() == ".npy" else _image(path)).squeeze()
    if probability.shape != fundus.fov.shape:
        raise ValueError(
            f"{path}: must have the image's shape {fundus.fov.shape}, got {probability.shape}"
        )
    if not ((probability >= 0) & (probability <= 1)).all():  # false for NaN too
        raise ValueError(
            f"{path}: probabilities must lie in [0, 1], got values from {probability.min()} to "
            f"{probability.max()}"
        )
    return probability.astype(np.float32)


def _npy(path: Path) -> NDArray[Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as cause:
        raise ValueError(f"{path}: not an array of NumPy ({cause})") from cause
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: not an array of real numbers")
    return values


def _image(path: Path) -> NDArray[Any]:
    with opened_image(path) as opened:
        image = corrected(path, opened)
        if image.mode == "P" or image.mode.startswith(("RGB", "LA")):
            colours = np.array(image.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise RefusedError("it is in colour, not a probability map")
            values, white = colours[..., 0], 255
        elif image.mode in _WHITE:
            values, white = np.array(image), _WHITE[image.mode]
        else:
            raise RefusedError(f"it has Pillow's mode {image.mode}, not grey")
        if white > 1 and 0 < values.max() <= white // 255:
            raise RefusedError(
                f"its brightest value is {values.max()}, but a probability of 1 is {white}. Scale "
                "its values"
            )
        return values / white


def save_prediction(
    path: Path, probability: NDArray[np.float32], meaning: str = "Probability of vessel"
) -> None:
    """Write a probability map, or other values in [0, 1], as 16-bit grey values.

    The file notes how to read it, because Pillow's ``convert("L")`` clips 16 bits instead of
    scaling them (13.0).
    """
    said = PngInfo()
    reading = 'np.asarray(Image.open(path)) / 65535, not convert("L"), which clips 16 bits'
    said.add_text("Description", f"{meaning}. In Python: {reading}.")
    write_png(path, np.rint(probability * 65535).astype(np.uint16), pnginfo=said)
