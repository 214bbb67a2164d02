"""DRIVE in the layout of its own archive.

The data set may not be redistributed, so the package contains none of its images.
"""

from pathlib import Path
from typing import Literal

from .files import EXTENSION, FundusFiles, find_files, match_files, require_files

_DRIVE_LAYOUT = """\
The folder of DRIVE must contain (NN is 21 to 40 in training/ and 01 to 20 in test/)
  training/  images/NN_*.tif  mask/NN_*_mask.gif  1st_manual/NN_manual1.gif
  test/      images/NN_*.tif  mask/NN_*_mask.gif, and from some sources 1st_manual/, 2nd_manual/
Get the archive from https://drive.grand-challenge.org."""
_DRIVE_NAME = r"(\d\d)_.+" + EXTENSION


def list_drive(root: str | Path, split: Literal["training", "test"]) -> list[FundusFiles]:
    """List the images of DRIVE (Staal et al. 2004), 565 wide and 584 high.

    The data set comes from https://drive.grand-challenge.org, where one must register. Its current
    archive has no vessel masks of the test images: they have ``label=None`` and
    ``second_label=None``. Older archives have both observers' vessel masks, which are then listed.

    Args:
        root: The folder with ``training/`` and ``test/``.
        split: ``"training"`` for the images 21 to 40, ``"test"`` for 01 to 20.

    Returns:
        The files of each image, sorted by name (``"01"`` to ``"40"``).

    Raises:
        FileNotFoundError: If a folder is missing or empty (``1st_manual/`` only for training), or
            an image lacks its field of view or a vessel mask that other images have.
        ValueError: If `split` is neither of the two, a mask has no image, or two files of a folder
            have the same identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_drive
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for file in ("images/02_test.tif", "mask/02_test_mask.gif"):
        ...         path = Path(root, "test", file)
        ...         path.parent.mkdir(parents=True)
        ...         Image.new("L", (565, 584), "white").save(path)
        ...     [files] = list_drive(root, "test")
        ...     fundus = files.read()
        >>> fundus.name, fundus.image.shape, fundus.label is None
        ('02', (584, 565, 3), True)
    """
    if split not in ("training", "test"):
        raise ValueError(f'list_drive: split must be "training" or "test", got {split!r}')
    folder = Path(root) / split
    images = find_files(folder / "images", _DRIVE_NAME)
    labels = find_files(folder / "1st_manual", _DRIVE_NAME)
    seconds = find_files(folder / "2nd_manual", _DRIVE_NAME)
    fovs = find_files(folder / "mask", _DRIVE_NAME)
    require_files(images, "image", folder / "images", _DRIVE_LAYOUT)
    require_files(fovs, "field of view", folder / "mask", _DRIVE_LAYOUT)
    if split == "training":
        require_files(labels, "vessel mask", folder / "1st_manual", _DRIVE_LAYOUT)
    return match_files(images, labels, fovs, seconds)
