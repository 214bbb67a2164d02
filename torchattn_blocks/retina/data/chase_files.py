"""CHASE_DB1 in the layout of its own archive.

The data set may not be redistributed, so the package contains none of its images.
"""

from pathlib import Path

from .files import FundusFiles
from .search import EXTENSION, find_files, match_files, require_files, suggests_folder

_CHASE_LAYOUT = """\
The folder of CHASE_DB1 must contain (NNx is 01L, 01R, ..., 14R)
  Image_NNx.jpg  Image_NNx_1stHO.png  Image_NNx_2ndHO.png, and from some sources mask/
Get the archive from Kingston University, https://researchinnovation.kingston.ac.uk,
"CHASE_DB1 retinal vessel reference dataset"."""


@suggests_folder
def list_chase_db1(root: str | Path) -> list[FundusFiles]:
    """List the 28 images of CHASE_DB1 (Fraz et al. 2012), 999 wide and 960 high.

    The data set comes from Kingston University: https://researchinnovation.kingston.ac.uk,
    "CHASE_DB1 retinal vessel reference dataset". Its archive has no fields of view. They are
    estimated from the images, unless there are files ``mask/Image_01L_mask.png`` and so on.

    Args:
        root: The folder with ``Image_01L.jpg`` and all other files, or with folders that hold them,
            such as ``images/`` and ``1st_label/``, or ``train/`` and ``test/``.

    Returns:
        The files of each image, sorted by name (``"01L"``, ``"01R"``, ...).

    Raises:
        FileNotFoundError: If the folder is missing or empty, an image has no vessel mask, or an
            image lacks a field of view or second vessel mask that other images have.
        ValueError: If a mask has no image, or two files have the same identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_chase_db1
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (999, 960), "orange").save(Path(root, "Image_01L.jpg"))
        ...     Image.new("1", (999, 960)).save(Path(root, "Image_01L_1stHO.png"))
        ...     [files] = list_chase_db1(root)
        >>> files.name, files.label.name, files.fov
        ('01L', 'Image_01L_1stHO.png', None)
    """
    folder = Path(root)
    stem = r"Image_(\d\d[LR])"
    images, labels, seconds, fovs = (
        find_files(folder, stem + suffix + EXTENSION, depth=2)
        for suffix in ("", "_1stHO", "_2ndHO", "_mask")
    )
    require_files(images, "image", folder, _CHASE_LAYOUT)
    require_files(labels, "vessel mask", folder, _CHASE_LAYOUT)
    return match_files(images, labels, fovs, seconds)
