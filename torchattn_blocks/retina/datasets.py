"""Readers of DRIVE and CHASE_DB1, in the layouts of their own archives.

Neither set may be redistributed, so the package ships no photograph: a user gets DRIVE from
https://drive.grand-challenge.org and CHASE_DB1 from Kingston University
(https://researchinnovation.kingston.ac.uk, "CHASE_DB1 retinal vessel reference dataset"), unpacks
the archive and names its folder here.

The files of one photograph are matched by the identifier in their names, never by listing order.
"""

from pathlib import Path
from typing import Literal

from torchattn_blocks.retina.files import (
    EXTENSION,
    FundusFiles,
    find_files,
    match_files,
    require_files,
)

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

_DRIVE_NAME = r"(\d\d)_.+" + EXTENSION


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
    images = find_files(folder / "images", _DRIVE_NAME)
    labels = find_files(folder / "1st_manual", _DRIVE_NAME)
    seconds = find_files(folder / "2nd_manual", _DRIVE_NAME)
    fovs = find_files(folder / "mask", _DRIVE_NAME)
    require_files(images, "photograph", folder / "images", _DRIVE_LAYOUT)
    require_files(fovs, "field of view", folder / "mask", _DRIVE_LAYOUT)
    if split == "training":
        require_files(labels, "vessel map", folder / "1st_manual", _DRIVE_LAYOUT)
    return match_files(images, labels, fovs, seconds)


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
    images = find_files(folder, stem + EXTENSION)
    labels = find_files(folder, stem + "_1stHO" + EXTENSION)
    seconds = find_files(folder, stem + "_2ndHO" + EXTENSION)
    fovs = find_files(folder / "mask", stem + "_mask" + EXTENSION)
    require_files(images, "photograph", folder, _CHASE_LAYOUT)
    require_files(labels, "vessel map", folder, _CHASE_LAYOUT)
    return match_files(images, labels, fovs, seconds)
