"""Probability maps written by any program."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fundus import Fundus
from .decode import opened_image
from .files import FundusFiles
from .search import EXTENSION

_WHITE = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535, "F": 1}  # by Pillow's mode


def find_prediction(folder: Path, files: FundusFiles) -> Path:
    """The probability map of an image: its name or file stem, perhaps with a suffix.

    Of several files that fit, it is the one with ``prob`` in its name, as the command ``segment``
    writes it.
    """
    *above, name = files.name.split("/")
    place = folder.joinpath(*above)
    place = place if place.is_dir() else folder
    if not place.is_dir():
        raise FileNotFoundError(f"{folder}: this folder does not exist")
    stems = {files.image.stem, name}
    own = "|".join(map(re.escape, sorted(stems, key=len, reverse=True)))
    pattern = rf"({own})([_.-].*)?({EXTENSION}|\.npy)"
    found = [p for p in sorted(place.iterdir()) if re.fullmatch(pattern, p.name, re.IGNORECASE)]
    exact = [p for p in found if p.stem in stems]
    named = [p for p in found if "prob" in p.stem.lower()]
    fitting = exact or named or found
    if len(fitting) != 1:
        raise FileNotFoundError(
            f"{place}: must hold 1 probability map of image {files.name}, such as {name}.png or "
            f"{files.image.stem}_prob.npy, got {', '.join(p.name for p in fitting) or 'none'}"
        )
    return fitting[0]


def read_predictions(
    folder: Path, files: Sequence[FundusFiles], images: Sequence[Fundus]
) -> list[NDArray[np.float32]]:
    """The probability maps of images, values between 0 and 1."""
    paths = [find_prediction(folder, one) for one in files]
    return [_read(path, fundus) for path, fundus in zip(paths, images, strict=True)]


def _read(path: Path, fundus: Fundus) -> NDArray[np.float32]:
    values, white = _npy(path) if path.suffix.lower() == ".npy" else _image(path)
    if values.shape != fundus.fov.shape:
        raise ValueError(
            f"{path}: must have the image's shape {fundus.fov.shape}, got {values.shape}"
        )
    probability = (values / white).astype(np.float32)
    if not ((probability >= 0) & (probability <= 1)).all():  # false for NaN too
        raise ValueError(
            f"{path}: probabilities must lie in [0, 1], got values from {probability.min():g} to "
            f"{probability.max():g}"
        )
    return probability


def _npy(path: Path) -> tuple[NDArray[Any], int]:
    try:
        return np.load(path, allow_pickle=False), 1
    except (ValueError, EOFError) as cause:
        raise ValueError(f"{path}: not an array of NumPy ({cause})") from cause


def _image(path: Path) -> tuple[NDArray[Any], int]:
    with opened_image(path) as image:
        if image.mode == "P" or image.mode.startswith(("RGB", "LA")):
            colours = np.array(image.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise ValueError("it is in colour, and no probability map")
            return colours[..., 0], 255
        return np.array(image), _WHITE[image.mode]
