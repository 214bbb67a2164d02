"""Image files decoded: colour images, binary masks and probability maps."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of an image file, 0 to 255: shape (H, W, 3) in mode RGB, (H, W) in mode L.

    They are turned upright by the orientation in EXIF. 16 bits per channel are scaled to 8.
    """
    with opened_image(path) as image:
        depth = _depth(image)  # only known until it is decoded
        image = _in_8_bits(ImageOps.exif_transpose(image), depth)
        return np.array(image.convert(mode))  # np.asarray's array could not be written to


class RefusedError(ValueError):
    """An image file is whole, but not of the kind that is wanted."""


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; an error while it is decoded names the file."""
    try:
        with _open(path) as file, Image.open(file) as image:
            yield image
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError):
        raise  # they name the cause themselves, and another copy of the file would not help
    except RefusedError as cause:
        raise ValueError(f"{path}: {cause}") from None
    except Exception as cause:  # OSError, TypeError, DecompressionBombError and more
        raise ValueError(
            f"{path}: cannot be decoded ({cause}). Replace the file, from its archive for example."
        ) from cause


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _depth(image: Image.Image) -> int:
    """Bits per channel of an image file that is not decoded yet."""
    # Such as RGB;16B, or in PPM the greatest value.
    layouts = str([tile.args for tile in getattr(image, "tile", [])])
    if ";16" in layouts or "65535" in layouts:
        return 16
    return 32 if image.mode in ("I", "F") else 8


def _in_8_bits(image: Image.Image, depth: int) -> Image.Image:
    """The image with 8 bits per channel, if it says which value is white."""
    if depth == 8:
        return image
    if depth == 32:
        raise RefusedError(
            "it has 32 bits per channel, and the file does not say which value is white. Save it "
            "with 8 bits per channel."
        )
    values = np.array(image)
    if values.dtype != np.uint8:  # of colour images Pillow itself keeps the upper 8 bits
        values = (values >> 8).astype(np.uint8)
    colours = values[..., :3] if image.mode == "RGBA" else values
    if colours.max() < 128:  # 12 bits of a camera, say, in a file of 16
        raise RefusedError(
            "it has 16 bits per channel, but its brightest value is less than half of 65535. Save "
            "it with 8 bits per channel."
        )
    return Image.fromarray(values)


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
    # A mask of one value may be drawn in transparency.
    dark, bright = np.split(np.bincount(grey.ravel(), minlength=256) > 0, [128])
    is_one_value = dark.sum() + bright.sum() == 1
    if dark.sum() > 1 or bright.sum() > 1 or (is_one_value and _is_transparent(path)):
        raise ValueError(
            f"{path}: not a binary mask. It must hold at most one grey value from 0 to 127 and one "
            f"from 128 to 255, got {dark.sum()} and {bright.sum()}. {_advice(path, grey)}"
        )
    return grey > 127


def _is_transparent(path: Path) -> bool:
    """Whether some pixels are more transparent than others."""
    with opened_image(path) as image:
        if not image.has_transparency_data:
            return False
        alpha = image.convert("RGBA").getchannel("A").getextrema()
    return alpha[0] != alpha[1]


def _advice(path: Path, grey: NDArray[np.uint8]) -> str:
    """What to do about a file that is not a binary mask."""
    colours = decode(path, "RGB")
    if _is_transparent(path):
        return "It has transparent pixels: save it without an alpha channel, in black and white."
    if (colours != colours[..., :1]).any():
        return "It is in colour: save it in black and white."
    values = np.unique(grey).tolist()
    if set(values) <= {0, 1}:
        return "It holds 0 and 1: multiply it by 255."
    if len(values) <= 8:
        return f"It holds the values {values}: set the marked ones to 255 and the others to 0."
    if ((grey < 64) | (grey > 191)).mean() > 0.9:
        return "It has grey edges, from resizing or JPEG: set values above 127 to 255, others to 0."
    return "It seems to be an image: save it with the values 0 and 255."
