"""Image files decoded: colour images, and two-valued maps of an image's size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of an image file, (H, W, 3) in mode RGB and (H, W) in mode L, 0 to 255."""
    with opened_image(path) as image:
        if image.mode[0] in "IF":  # Pillow would cut all above 255 off
            raise ValueError("it has more than 8 bits a channel")
        return np.array(image.convert(mode))  # a copy: np.asarray's array could not be written


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; an error while it is decoded names it."""
    try:
        with Image.open(path) as image:
            yield image
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError):
        raise  # these say themselves what is wrong, and another copy would not help
    except Exception as cause:  # OSError, TypeError, DecompressionBombError and more
        raise ValueError(
            f"{path}: cannot be decoded ({cause}). Replace it, as from the archive."
        ) from cause


def read_map(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A two-valued map (H, W) of the image's size, True where it is bright."""
    grey = decode(path, "L")
    if grey.shape != size:
        raise ValueError(
            f"{path}: {grey.shape[1]} wide and {grey.shape[0]} high, but its image "
            f"{image} is {size[1]} wide and {size[0]} high. Take both from one archive."
        )
    # DRIVE's second observers are palette images, grey 3 and 253: so not just 0 and 255. Two values
    # on one side (0 and 1; the shades of an image) would be lost without a trace.
    values = np.bincount(grey.ravel(), minlength=256) > 0
    if values[:128].sum() > 1 or values[128:].sum() > 1:
        raise ValueError(
            f"{path}: not a map. It must hold one grey value up to 127 and one above, got "
            f"{values[:128].sum()} and {values[128:].sum()}. Write it with 0 and 255, or take it "
            "from the archive."
        )
    return grey > 127
