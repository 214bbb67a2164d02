"""STARE: 20 images with vessel masks by two observers."""

from pathlib import Path

from .files import FundusFiles
from .search import EXTENSION, find_files, match_files, require_files, suggests_folder

_STARE_LAYOUT = """\
The folder of STARE must contain, itself or in folders, packed (.gz) or not,
  im0001.ppm, im0002.ppm, ...: the images      im0001.ah.ppm, ...: vessel masks by Adam Hoover
  im0001.vk.ppm, ...: vessel masks by Valentina Kouznetsova, optional
  mask/im0001.png, ...: fields of view, optional
Get the archives from https://cecas.clemson.edu/~ahoover/stare/probing."""


@suggests_folder
def list_stare(root: str | Path) -> list[FundusFiles]:
    """List the 20 images of STARE with vessel masks (Hoover et al. 2000), 700 wide and 605 high.

    The data set comes from https://cecas.clemson.edu/~ahoover/stare/probing, in one archive for the
    images and one for each observer. It has no fields of view: they are estimated from the images,
    unless a copy has files ``mask/im0001.png`` and so on, in a folder whose name starts with mask.
    Images without a vessel mask are not listed.

    Args:
        root: The folder with the files ``im0001.ppm``, ``im0001.ah.ppm`` and so on, or with folders
            that hold them. The files may be packed: ``im0001.ppm.gz``.

    Returns:
        The files of each image, sorted by name (``"0001"``, ``"0002"``, ...). The first observer is
        Adam Hoover (``ah``), the second Valentina Kouznetsova (``vk``).

    Raises:
        FileNotFoundError: If the folder is missing or has no image or no vessel mask of ``ah``, or
            an image lacks a mask of ``vk`` or a field of view that other images have.
        ValueError: If a mask has no image, or two files have the same identifier.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_stare
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (700, 605), "orange").save(Path(root, "im0001.ppm"))
        ...     Image.new("L", (700, 605)).save(Path(root, "im0001.ah.ppm"))
        ...     [files] = list_stare(root)
        >>> files.name, files.label.name
        ('0001', 'im0001.ah.ppm')
    """
    folder = Path(root)
    ending = r"\.(?:ppm|png|tiff?)(?:\.gz)?"
    images = find_files(
        folder, r"im(\d{4})" + ending, depth=2, wanted=lambda path: not _is_in_masks(path)
    )
    labels = find_files(folder, r"im(\d{4})\.ah" + ending, depth=2)
    seconds = find_files(folder, r"im(\d{4})\.vk" + ending, depth=2)
    fovs = find_files(
        folder,
        r"im(\d{4})(?:[._-]mask)?" + EXTENSION + r"(?:\.gz)?",
        depth=2,
        wanted=_is_in_masks,
    )
    require_files(images, "image", folder, _STARE_LAYOUT)
    require_files(labels, "vessel mask", folder, _STARE_LAYOUT)
    for name in images.keys() - labels.keys():
        del images[name]
        fovs.pop(name, None)
    return match_files(images, labels, fovs, seconds)


def _is_in_masks(path: Path) -> bool:
    """Whether a path leads through a folder such as mask/ or Masks/."""
    return any(folder.name.lower().startswith("mask") for folder in path.parents)
