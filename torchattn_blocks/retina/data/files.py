"""The files of fundus images: finding them, and telling which belong together."""

import re
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path

from ..fundus import Fundus
from .decode import decode, read_map
from .fov import estimate_fov

# What is named otherwise (.DS_Store, ._21_training.tif, Thumbs.db, a read-me) is no part of a set.
EXTENSION = r"\.(?:tiff?|gif|png|jpe?g|bmp|ppm)"


@dataclass(frozen=True)
class FundusFiles:
    """Where the files of one fundus image lie; nothing is opened before :meth:`read`.

    Attributes:
        name: The image's identifier within its data set, such as ``"21"`` or ``"01L"``.
        image: The colour image.
        label: Vessel mask of the first observer, or None where there is none.
        fov: Field of view, or None where it must be computed from the image.
        second_label: Vessel mask of the second observer, or None.
    """

    name: str
    image: Path
    label: Path | None
    fov: Path | None
    second_label: Path | None

    def read(self) -> Fundus:
        """Decode the files.

        Returns:
            The image, with RGB values (H, W, 3) and masks (H, W). Where no file gives the field of
            view, it is :func:`~torchattn_blocks.retina.estimate_fov` of the image.

        Raises:
            FileNotFoundError: If a file has gone since the folder was listed.
            ValueError: If a file cannot be decoded, a map is not of the image's height and
                width or not two-valued, or a field of view holds no pixel. It names the file.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> from torchattn_blocks.retina import FundusFiles
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = Path(folder, "mine.png")
            ...     Image.new("RGB", (48, 32), "orange").save(path)
            ...     files = FundusFiles("mine", path, label=None, fov=None, second_label=None)
            ...     fundus = files.read()
            >>> fundus.image.shape, fundus.fov.shape
            ((32, 48, 3), (32, 48))
        """
        image = decode(self.image, "RGB")
        size = image.shape[:2]
        label = None if self.label is None else read_map(self.label, self.image, size)
        second = (
            None if self.second_label is None else read_map(self.second_label, self.image, size)
        )
        fov = estimate_fov(image) if self.fov is None else read_map(self.fov, self.image, size)
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
                raise ValueError(f"{path}: {found[name]} is of image {name} too. Keep one.")
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
    """Join the files of each image. A kind of map is there for all images or for none."""
    kinds = {"vessel mask": labels, "field of view": fovs, "second observer's mask": seconds}
    for kind, maps in kinds.items():
        if strays := maps.keys() - images.keys():
            raise ValueError(
                f"{maps[min(strays)]}: a {kind} without an image {min(strays)}. "
                "Unpack the archive again, or take the file away."
            )
        if maps and (bare := images.keys() - maps.keys()):
            raise FileNotFoundError(
                f"{images[min(bare)]}: an image without a {kind}, which others have, as "
                f"{min(maps.values())}. Unpack the archive again, or add the file, or take the "
                "image away."
            )
    return [
        FundusFiles(name, images[name], labels.get(name), fovs.get(name), seconds.get(name))
        for name in sorted(images)
    ]
