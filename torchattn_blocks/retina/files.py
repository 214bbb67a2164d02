"""The files of fundus photographs: finding them, telling which belong together, decoding them."""

import re
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchattn_blocks.retina.fov import estimate_fov
from torchattn_blocks.retina.fundus import Fundus

# What is named otherwise (.DS_Store, ._21_training.tif, Thumbs.db, a read-me) is no part of a set.
EXTENSION = r"\.(?:tiff?|gif|png|jpe?g|bmp|ppm)"


@dataclass(frozen=True)
class FundusFiles:
    """Where the files of one fundus photograph lie; nothing is opened before :meth:`read`.

    Attributes:
        name: The photograph's identifier within its data set, such as ``"21"`` or ``"01L"``.
        image: The colour photograph.
        label: Vessel map of the first observer, or None where there is none.
        fov: Field of view, or None where it must be computed from the photograph.
        second: Vessel map of the second observer, or None.
    """

    name: str
    image: Path
    label: Path | None
    fov: Path | None
    second: Path | None

    def read(self) -> Fundus:
        """Decode the files.

        Returns:
            The photograph, image (H, W, 3) and maps (H, W). Where no file gives the field of view,
            it is :func:`~torchattn_blocks.retina.estimate_fov` of the photograph.

        Raises:
            FileNotFoundError: If a file has gone since the folder was listed.
            ValueError: If a file cannot be decoded, a map is not of the photograph's height and
                width or not two-valued, or a field of view holds no pixel. It names the file.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> from torchattn_blocks.retina import FundusFiles
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = Path(folder, "mine.png")
            ...     Image.new("RGB", (48, 32), "orange").save(path)
            ...     fundus = FundusFiles("mine", path, label=None, fov=None, second=None).read()
            >>> fundus.image.shape, fundus.fov.shape
            ((32, 48, 3), (32, 48))
        """
        image = _decode(self.image, "RGB")
        size = image.shape[:2]
        label = None if self.label is None else _read_map(self.label, self.image, size)
        second = None if self.second is None else _read_map(self.second, self.image, size)
        fov = estimate_fov(image) if self.fov is None else _read_map(self.fov, self.image, size)
        if not fov.any():
            raise ValueError(f"{self.fov}: the field of view holds no pixel. Replace the file.")
        return Fundus(self.name, image, label, fov, second)


def find_files(
    folder: Path, pattern: str, identifier: Callable[[str], str] = str.upper
) -> dict[str, Path]:
    """Files of a folder by the identifier in their names; none where there is no such folder.

    The identifier is made of the pattern's first group: its capitals, unless told otherwise.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if parts := re.fullmatch(pattern, path.name, re.IGNORECASE):
            name = identifier(parts[1])
            if name in found:
                raise ValueError(f"{path}: {found[name]} is of photograph {name} too. Keep one.")
            found[name] = path
    return found


def require_files(found: Sized, what: str, where: Path, layout: str) -> None:
    """Raise an error unless the folder is there and some files were found in it."""
    if not where.is_dir():
        raise FileNotFoundError(f"{where}: there is no such folder.\n{layout}")
    if not found:
        raise FileNotFoundError(f"{where}: the folder holds no {what}.\n{layout}")


def match_files(
    images: dict[str, Path],
    labels: dict[str, Path],
    fovs: dict[str, Path],
    seconds: dict[str, Path],
) -> list[FundusFiles]:
    """Join the files of each photograph. A kind of map is there for all photographs or for none."""
    kinds = {"vessel map": labels, "field of view": fovs, "second observer's map": seconds}
    for kind, maps in kinds.items():
        if strays := maps.keys() - images.keys():
            raise ValueError(
                f"{maps[min(strays)]}: a {kind} without a photograph {min(strays)}. "
                "Unpack the archive again, or take the file away."
            )
        if maps and (bare := images.keys() - maps.keys()):
            raise FileNotFoundError(
                f"{images[min(bare)]}: a photograph without a {kind}, which others have, as "
                f"{min(maps.values())}. Unpack the archive again, or add the file, or take the "
                "photograph away."
            )
    return [
        FundusFiles(name, images[name], labels.get(name), fovs.get(name), seconds.get(name))
        for name in sorted(images)
    ]


def _decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
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


def _read_map(path: Path, photograph: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A two-valued map (H, W) of the photograph's size, True where it is bright."""
    grey = _decode(path, "L")
    if grey.shape != size:
        raise ValueError(
            f"{path}: {grey.shape[1]} wide and {grey.shape[0]} high, but its photograph "
            f"{photograph} is {size[1]} wide and {size[0]} high. Take both from one archive."
        )
    # DRIVE's second observers are palette images, grey 3 and 253: so not just 0 and 255. Two values
    # on one side (0 and 1; the shades of a photograph) would be lost without a trace.
    values = np.bincount(grey.ravel(), minlength=256) > 0
    if values[:128].sum() > 1 or values[128:].sum() > 1:
        raise ValueError(
            f"{path}: not a map. It must hold one grey value up to 127 and one above, got "
            f"{values[:128].sum()} and {values[128:].sum()}. Write it with 0 and 255, or take it "
            "from the archive."
        )
    return grey > 127
