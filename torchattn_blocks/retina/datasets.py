"""Readers of DRIVE and CHASE_DB1, in the layouts of their own archives.

Neither set may be redistributed, so the package ships no photograph: a user gets DRIVE from
https://drive.grand-challenge.org and CHASE_DB1 from Kingston University
(https://researchinnovation.kingston.ac.uk, "CHASE_DB1 retinal vessel reference dataset"), unpacks
the archive and names its folder here.

The files of one photograph are matched by the identifier in their names, never by listing order.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchattn_blocks.retina.fov import estimate_fov
from torchattn_blocks.retina.fundus import Fundus

_DRIVE_LAYOUT = """\
The root of DRIVE must hold, with NN from 21 to 40 in training/ and from 01 to 20 in test/,
  training/  images/NN_*.tif  mask/NN_*_mask.gif  1st_manual/NN_manual1.gif
  test/      images/NN_*.tif  mask/NN_*_mask.gif, and from some sources 1st_manual/, 2nd_manual/
Get the archive from https://drive.grand-challenge.org."""
_CHASE_LAYOUT = """\
The root of CHASE_DB1 must hold, with NNx from 01L, 01R to 14R,
  Image_NNx.jpg  Image_NNx_1stHO.png  Image_NNx_2ndHO.png, and from some sources mask/
Get the archive from Kingston University, https://researchinnovation.kingston.ac.uk,
"CHASE_DB1 retinal vessel reference dataset"."""

# What is named otherwise (.DS_Store, ._21_training.tif, Thumbs.db, a read-me) is no part of a set.
_EXTENSION = r"\.(?:tiff?|gif|png|jpe?g|bmp|ppm)"
_DRIVE_NAME = r"(\d\d)_.+" + _EXTENSION


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


def drive(root: str | Path, split: Literal["training", "test"]) -> list[FundusFiles]:
    """List the photographs of DRIVE (Staal et al. 2004), 565 wide and 584 high.

    The set comes from https://drive.grand-challenge.org, by registration. The archive handed out
    today holds no vessel maps of the test photographs: those have ``label=None`` and
    ``second=None``. Older archives hold both observers' maps, and then they are found.

    Args:
        root: The folder that holds ``training/`` and ``test/``.
        split: Which half: 21 to 40 are for training, 01 to 20 for testing.

    Returns:
        The files of each photograph, sorted by name (``"01"`` to ``"40"``).

    Raises:
        FileNotFoundError: If a folder is missing or empty (1st_manual/ in training only), or a
            photograph lacks its field of view or a map that others have.
        ValueError: If the split is unknown, a map has no photograph, or two files of a folder
            have one identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import drive
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for file in ("images/02_test.tif", "mask/02_test_mask.gif"):
        ...         path = Path(root, "test", file)
        ...         path.parent.mkdir(parents=True)
        ...         Image.new("L", (565, 584), "white").save(path)
        ...     [files] = drive(root, "test")
        ...     fundus = files.read()
        >>> fundus.name, fundus.image.shape, fundus.label is None
        ('02', (584, 565, 3), True)
    """
    if split not in ("training", "test"):
        raise ValueError(f'drive: split must be "training" or "test", got {split!r}')
    folder = Path(root) / split
    images = _find(folder / "images", _DRIVE_NAME)
    labels = _find(folder / "1st_manual", _DRIVE_NAME)
    seconds = _find(folder / "2nd_manual", _DRIVE_NAME)
    fovs = _find(folder / "mask", _DRIVE_NAME)
    _require(images, "photograph", folder / "images", _DRIVE_LAYOUT)
    _require(fovs, "field of view", folder / "mask", _DRIVE_LAYOUT)
    if split == "training":
        _require(labels, "vessel map", folder / "1st_manual", _DRIVE_LAYOUT)
    return _match(images, labels, fovs, seconds)


def chase_db1(root: str | Path) -> list[FundusFiles]:
    """List the 28 photographs of CHASE_DB1 (Fraz et al. 2012), 999 wide and 960 high.

    The set comes from Kingston University: https://researchinnovation.kingston.ac.uk, "CHASE_DB1
    retinal vessel reference dataset". Its archive holds no fields of view: they are computed from
    the photographs, unless files ``mask/Image_01L_mask.png`` and so on give them.

    Args:
        root: The folder that holds ``Image_01L.jpg`` and all the others.

    Returns:
        The files of each photograph, sorted by name (``"01L"``, ``"01R"``, ...).

    Raises:
        FileNotFoundError: If the folder is missing or empty, or a photograph lacks its vessel map,
            or a field of view or second map that others have.
        ValueError: If a map has no photograph, or two files have one identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import chase_db1
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (999, 960), "orange").save(Path(root, "Image_01L.jpg"))
        ...     Image.new("1", (999, 960)).save(Path(root, "Image_01L_1stHO.png"))
        ...     [files] = chase_db1(root)
        >>> files.name, files.label.name, files.fov
        ('01L', 'Image_01L_1stHO.png', None)
    """
    folder = Path(root)
    stem = r"Image_(\d\d[LR])"
    images = _find(folder, stem + _EXTENSION)
    labels = _find(folder, stem + "_1stHO" + _EXTENSION)
    seconds = _find(folder, stem + "_2ndHO" + _EXTENSION)
    fovs = _find(folder / "mask", stem + "_mask" + _EXTENSION)
    _require(images, "photograph", folder, _CHASE_LAYOUT)
    _require(labels, "vessel map", folder, _CHASE_LAYOUT)
    return _match(images, labels, fovs, seconds)


def _find(folder: Path, pattern: str) -> dict[str, Path]:
    """Files of a folder by the identifier in their names; none where there is no such folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := re.fullmatch(pattern, path.name, re.IGNORECASE):
            name = match[1].upper()
            if name in found:
                raise ValueError(f"{path}: {found[name]} is of photograph {name} too. Keep one.")
            found[name] = path
    return found


def _require(found: dict[str, Path], what: str, where: Path, layout: str) -> None:
    """Raise an error unless the folder is there and some files were found in it."""
    if not where.is_dir():
        raise FileNotFoundError(f"{where}: there is no such folder.\n{layout}")
    if not found:
        raise FileNotFoundError(f"{where}: the folder holds no {what}.\n{layout}")


def _match(
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
                f"{min(maps.values())}. Unpack the archive again, or take the photograph away."
            )
    return [
        FundusFiles(name, images[name], labels.get(name), fovs.get(name), seconds.get(name))
        for name in sorted(images)
    ]


def _decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of an image file, (H, W, 3) in mode RGB and (H, W) in mode L, 0 to 255."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))  # a copy: np.asarray's array could not be written
    except (FileNotFoundError, IsADirectoryError, PermissionError, MemoryError):
        raise  # these say themselves what is wrong, and another copy would not help
    except Exception as cause:  # OSError, TypeError, DecompressionBombError and more
        raise ValueError(
            f"{path}: cannot be decoded ({cause}). Unpack it from the archive again."
        ) from cause


def _read_map(path: Path, photograph: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A two-valued map (H, W) of the photograph's size, True where it is bright."""
    grey = _decode(path, "L")
    if grey.shape != size:
        raise ValueError(
            f"{path}: {grey.shape[1]} wide and {grey.shape[0]} high, but its photograph "
            f"{photograph} is {size[1]} wide and {size[0]} high. Take both from the archive."
        )
    # DRIVE's second observers are palette images, grey 3 and 253: so not just 0 and 255. Two values
    # on one side (0 and 1; the shades of a photograph) would be lost without a trace.
    values = np.bincount(grey.ravel(), minlength=256) > 0
    if values[:128].sum() > 1 or values[128:].sum() > 1:
        raise ValueError(
            f"{path}: not a map. It must hold one grey value up to 127 and one above, got "
            f"{values[:128].sum()} and {values[128:].sum()}. Take the file from the archive."
        )
    return grey > 127
