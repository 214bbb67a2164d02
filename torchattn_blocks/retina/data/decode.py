"""Image files decoded: colour images, binary masks and probability maps."""

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

# Pillow's modes of grey TIFF files that it does not invert if 0 is white, and their white.
_INVERTED = {"I;16": np.uint16(65535), "F": np.float32(1)}


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a colour image as the commands do, for `segment`.

    It reads PNG, JPEG, TIFF, GIF, BMP, PPM, WebP and JPEG 2000, also packed (``.gz``). The image is
    turned upright by the orientation in EXIF. 16 bits per channel are scaled to 8. Grey images get
    three equal channels. An alpha channel is left out.

    Args:
        path: The file.

    Returns:
        RGB values of shape (H, W, 3), 0 to 255.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be decoded, or has 16 or 32 bits per channel and does not say
            which value is white.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.png")
        ...     Image.new("RGB", (48, 32), "orange").save(path)
        ...     image = read_image(path)
        >>> image.shape, image.dtype
        ((32, 48, 3), dtype('uint8'))
    """
    return decode(Path(path), "RGB")


def decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of an image file, 0 to 255: shape (H, W, 3) in mode RGB, (H, W) in mode L.

    They are turned upright by the orientation in EXIF. 16 bits per channel are scaled to 8.
    """
    with opened_image(path) as image:
        _check_pages(image)
        depth = _depth(image)  # only known until it is decoded
        image = _in_8_bits(ImageOps.exif_transpose(corrected(path, image)), depth)
        return np.array(image.convert(mode))  # np.asarray's array could not be written to


class RefusedError(ValueError):
    """An image file is whole, but not of the wanted kind."""


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; an error while it is decoded names the file."""
    try:
        with _open(path) as file:
            if file.read(132)[128:] == b"DICM":
                raise RefusedError("DICOM is not read: export it as PNG or TIFF")
            file.seek(0)
            with Image.open(file) as image:
                yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this file does not exist") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path}: this is a folder, not an image") from None
    except (PermissionError, MemoryError):
        raise  # they already name the cause, and another copy of the file would not help
    except RefusedError as cause:
        raise ValueError(f"{path}: {cause}") from None
    except UnidentifiedImageError as cause:
        raise ValueError(
            f"{path}: cannot be decoded (its kind is unknown). Save it as PNG with 8 bits per "
            "channel, or replace the file, from its archive for example."
        ) from cause
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
    is_scaled = image.format == "PPM" and image.mode == "I"  # to 65535, by Pillow
    if ";16" in layouts or "65535" in layouts or is_scaled or _in_planes(image):
        return 16
    return 32 if image.mode in ("I", "F") else 8


def corrected(path: Path, image: Image.Image) -> Image.Image:
    """The image of a file, correct even for TIFF files that Pillow (13.0) silently misreads.

    In grey files of 16 and 32 bits Pillow ignores that 0 is white. It reads files as noise if they
    have 16 bits per channel, hold one channel after the other and are not compressed.
    """
    if _has_16_bits(image) and _tag(image, Base.PhotometricInterpretation) not in (0, 1, 2):
        raise RefusedError(
            "it has 16 bits per channel, and is neither grey nor RGB. Save it as RGB with 8 bits "
            "per channel"
        )
    if _in_planes(image):
        import tifffile  # here: few files need it, and it takes long to load

        with _open(path) as file, tifffile.TiffFile(file) as tiff:
            channels = tiff.pages[0].asarray()
        values = np.moveaxis(channels[:3] >> 8, 0, -1).astype(np.uint8)
    elif _tag(image, Base.PhotometricInterpretation) == 0 and image.mode in _INVERTED:
        values = _INVERTED[image.mode] - np.array(image)
    else:
        return image
    right = Image.fromarray(values)
    right.getexif()[Base.Orientation] = image.getexif().get(Base.Orientation, 1)
    return right


def _has_16_bits(image: Image.Image) -> bool:
    """Whether a TIFF file has 16 bits per channel."""
    return {*(_tag(image, Base.BitsPerSample) or ())} == {16}


def _in_planes(image: Image.Image) -> bool:
    kind = tuple(
        _tag(image, name)
        for name in (
            Base.PhotometricInterpretation,
            Base.PlanarConfiguration,
            Base.Compression,
        )
    )
    return _has_16_bits(image) and kind == (2, 2, 1)


def _check_pages(image: Image.Image) -> None:
    """Refuse a TIFF file that has another page as large as the first or larger."""
    pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    first = math.prod(image.size)
    for page in range(1, pages):
        image.seek(page)
        if math.prod(image.size) >= first:
            raise RefusedError(
                f"it has {pages} pages. Save the one that you want as a file of its own"
            )
    if pages > 1:
        image.seek(0)


def _tag(image: Image.Image, name: Base) -> Any:
    """The value of a tag of a TIFF file, or None."""
    return getattr(image, "tag_v2", {}).get(name)


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
    if colours.max() < 128:  # such as 12 bits of a camera in a file of 16
        raise RefusedError(
            "it has 16 bits per channel, but its brightest value is less than half of 65535. Save "
            "it with 8 bits per channel."
        )
    return Image.fromarray(values)


def read_mask(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A binary mask of the image's size, True where it is bright (or 1, if it has only 0 and 1)."""
    grey = decode(path, "L")
    if grey.shape != size:
        raise ValueError(
            f"{path}: {grey.shape[1]} wide and {grey.shape[0]} high, but its image "
            f"{image} is {size[1]} wide and {size[0]} high. Replace one of the two."
        )
    # Not only 0 and 255: the second observer's masks of DRIVE hold grey 3 and 253. Two values in
    # one half (0 and 1, or the shades of an image) would be merged without a warning. A mask of one
    # value may be drawn in transparency.
    if _holds_classes(path, grey):
        return grey == 1
    dark, bright = np.split(np.bincount(grey.ravel(), minlength=256) > 0, [128])
    is_one_value = dark.sum() + bright.sum() == 1
    if dark.sum() > 1 or bright.sum() > 1 or (is_one_value and _is_transparent(path)):
        raise ValueError(
            f"{path}: not a binary mask. It must hold at most one grey value from 0 to 127 and one "
            f"from 128 to 255, got {dark.sum()} and {bright.sum()}. {_advice(path, grey)}"
        )
    return grey > 127


def _holds_classes(path: Path, grey: NDArray[np.uint8]) -> bool:
    """Whether a mask holds 0 and 1, numbers of classes as nnU-Net has them, and nothing else."""
    if set(np.unique(grey).tolist()) != {0, 1} or _is_transparent(path):
        return False
    colours = decode(path, "RGB")
    return not (colours != colours[..., :1]).any()


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
    if len(values) <= 8:
        return f"It holds the values {values}: set the marked ones to 255 and the others to 0."
    if ((grey < 64) | (grey > 191)).mean() > 0.9:
        return "It has grey edges, from resizing or JPEG: set values above 127 to 255, others to 0."
    return "It seems to be an image: save it with the values 0 and 255."
