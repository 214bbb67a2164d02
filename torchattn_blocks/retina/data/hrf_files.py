"""HRF: 45 large images, with vessel masks and fields of view."""

from pathlib import Path

from .files import FundusFiles
from .search import EXTENSION, find_files, match_files, require_files, subfolder, suggests_folder

_HRF_LAYOUT = """\
The folder of HRF must contain (NN is 01 to 15, KIND is dr, g or h)
  images/  NN_KIND.JPG      manual1/  NN_KIND.tif      mask/  NN_KIND_mask.tif
Get the archive from https://www5.cs.fau.de/research/data/fundus-images."""


@suggests_folder
def list_hrf(root: str | Path) -> list[FundusFiles]:
    """List the 45 images of HRF (Budai et al. 2013), 3504 wide and 2336 high.

    The data set comes from https://www5.cs.fau.de/research/data/fundus-images: 15 images each of
    patients with diabetic retinopathy (``dr``), with glaucoma (``g``) and of healthy people
    (``h``).

    Args:
        root: The folder with ``images/``, ``manual1/`` and ``mask/``.

    Returns:
        The files of each image, sorted by name (``"01_dr"``, ``"01_g"``, ...).

    Raises:
        FileNotFoundError: If ``images/`` or ``manual1/`` is missing or empty, or an image lacks its
            vessel mask or a field of view that other images have.
        ValueError: If a mask has no image, or two files of a folder have the same identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_hrf
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for file in ("images/01_dr.JPG", "manual1/01_dr.tif", "mask/01_dr_mask.tif"):
        ...         path = Path(root, file)
        ...         path.parent.mkdir()
        ...         Image.new("L", (48, 32)).save(path)
        ...     [files] = list_hrf(root)
        >>> files.name, files.fov.name
        ('01_dr', '01_dr_mask.tif')
    """
    folder = Path(root)
    stem = r"(\d\d_(?:dr|g|h))"
    places = [subfolder(folder, name) for name in ("images", "manual1", "mask")]
    images = find_files(places[0], stem + EXTENSION, str.lower)
    labels = find_files(places[1], stem + EXTENSION, str.lower)
    fovs = find_files(places[2], stem + "_mask" + EXTENSION, str.lower)
    require_files(images, "image", places[0], _HRF_LAYOUT)
    require_files(labels, "vessel mask", places[1], _HRF_LAYOUT)
    return match_files(images, labels, fovs, {})
