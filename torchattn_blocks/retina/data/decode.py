"""Image files decoded: colour images and binary masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of an image file, 0 to 255: shape (H, W, 3) in mode RGB, (H, W) in mode L."""
    with opened_image(path) as image:
        if image.mode[0] in "IF":  # Pillow would clip all above 255
            raise ValueError("it has more than 8 bits per channel")
        return np.array(image.convert(mode))  # a copy: np.asarray's array could not be written


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; an error while it is decoded names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError):
        raise  # they name the cause themselves, and another copy of the file would not help
    except Exception as cause:  # OSError, TypeError, DecompressionBombError and more
        raise ValueError(
            f"{path}: cannot be decoded ({cause}). Replace the file, from the data set's archive."
        ) from cause


def read_mask(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A binary mask of the image's height and width, True where it is bright."""
    grey = decode(path, "L")
    if grey.shape != size:
        raise ValueError(
            f"{path}: {grey.shape[1]} wide and {grey.shape[0]} high, but its image "
            f"{image} is {size[1]} wide and {size[0]} high. Replace one of the two."
        )
    # Not only 0 and 255: the second observer's masks of DRIVE hold grey 3 and 253. Two values in
    # one half (0 and 1, or the shades of an image) would be merged without a warning.
    values = np.bincount(grey.ravel(), minlength=256) > 0
    if values[:128].sum() > 1 or values[128:].sum() > 1:
        raise ValueError(
            f"{path}: not a binary mask. It must hold one grey value up to 127 and one above, got "
            f"{values[:128].sum()} and {values[128:].sum()}. Save it with the values 0 and 255."
        )
    return grey > 127
