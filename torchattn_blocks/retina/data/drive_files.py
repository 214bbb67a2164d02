"""DRIVE in the layout of its own archive.

The data set may not be redistributed, so the package contains none of its images.
"""

from pathlib import Path
from typing import Literal

from .files import FundusFiles
from .search import EXTENSION, find_files, match_files, require_files, subfolder, suggests_folder

_DRIVE_LAYOUT = """\
The folder of DRIVE must contain (NN is 21 to 40 in training/ and 01 to 20 in test/)
  training/  images/NN_*.tif  mask/NN_*_mask.gif  1st_manual/NN_manual1.gif
  test/      images/NN_*.tif  mask/NN_*_mask.gif, and from some sources 1st_manual/, 2nd_manual/
Get the archive from https://drive.grand-challenge.org."""
_SPLITS = {"training": ("training", "train"), "test": ("test", "testing")}
_DRIVE_NAME = r"(\d\d)(?:_.+)?" + EXTENSION


@suggests_folder
def list_drive(root: str | Path, split: Literal["training", "test"]) -> list[FundusFiles]:
    """List the images of DRIVE (Staal et al. 2004), 565 wide and 584 high.

    The data set comes from https://drive.grand-challenge.org, where you must register. Its current
    archive has no vessel masks of the test images: they have ``label=None`` and
    ``second_label=None``. Older archives have both observers' vessel masks; these are then listed.
    Without a folder ``mask/``, fields of view are estimated from the images. Folders may be named
    ``train/`` and ``testing/``, in capitals or not, and images may be converted to PNG.

    Args:
        root: The folder with ``training/`` and ``test/``.
        split: ``"training"`` for the images 21 to 40, ``"test"`` for 01 to 20.

    Returns:
        The files of each image, sorted by name (``"01"`` to ``"40"``).

    Raises:
        FileNotFoundError: If ``images/`` or, for training, ``1st_manual/`` is missing or empty, or
            an image lacks a mask that other images have.
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
    folder = subfolder(Path(root), *_SPLITS[split])
    names = ("images", "1st_manual", "mask", "2nd_manual")
    places = [subfolder(folder, name) for name in names]
    images, labels, fovs, seconds = (find_files(place, _DRIVE_NAME) for place in places)
    require_files(images, "image", places[0], _DRIVE_LAYOUT)
    if split == "training":
        require_files(labels, "vessel mask", places[1], _DRIVE_LAYOUT)
    return match_files(images, labels, fovs, seconds)
