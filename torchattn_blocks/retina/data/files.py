"""The files of fundus images: finding them, and matching images with their masks."""

import re
import warnings
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path

from ..fundus import Fundus
from .decode import decode, read_mask
from .fov import estimate_fov, fov_fault

# Files with other names (.DS_Store, ._21_training.tif, Thumbs.db, a read-me) are ignored.
EXTENSION = r"\.(?:tiff?|gif|png|jpe?g|bmp|ppm)"


@dataclass(frozen=True)
class FundusFiles:
    """The paths of the files of one fundus image. Only :meth:`read` opens them.

    Attributes:
        name: Identifier of the image within its data set, such as ``"21"`` or ``"01L"``.
        image: The colour image.
        label: Vessel mask by the first observer, or None if there is none.
        fov: Field of view, or None to estimate it from the image.
        second_label: Vessel mask by the second observer, or None.

    Example:
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import FundusFiles
        >>> files = FundusFiles("1", Path("1.jpg"), Path("1.png"), fov=None, second_label=None)
    """

    name: str
    image: Path
    label: Path | None
    fov: Path | None
    second_label: Path | None

    def read(self) -> Fundus:
        """Decode the files.

        Returns:
            The image, with RGB values (H, W, 3) and masks (H, W). Without a file for the field of
            view, it is :func:`~torchattn_blocks.retina.estimate_fov` of the image.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file cannot be decoded, a mask has another height or width than the
                image or more than two values, the field of view is not one large region, or more
                than 40 % of it is vessel. Below 1 % there is a warning.

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
        label = None if self.label is None else read_mask(self.label, self.image, size)
        second = (
            None if self.second_label is None else read_mask(self.second_label, self.image, size)
        )
        fov = estimate_fov(image) if self.fov is None else read_mask(self.fov, self.image, size)
        if self.fov is not None and (fault := fov_fault(fov)):
            raise ValueError(f"{self.fov}: not a field of view. {fault}")
        for path, mask in ((self.label, label), (self.second_label, second)):
            if mask is not None:
                _check_share(path, mask[fov].mean())
        return Fundus(self.name, image, label, fov, second)


def _check_share(path: Path | None, share: float) -> None:
    """Check the fraction of vessel in the field of view, .07 to .17 on DRIVE and CHASE_DB1."""
    if share > 0.4:
        raise ValueError(
            f"{path}: vessels must cover at most 40 % of the field of view, got {share:.0%}. They "
            "must be white on black: invert the mask, or replace it if it shows something else."
        )
    if share < 0.01:
        warnings.warn(f"{path}: vessels cover only {share:.1%} of the field of view", stacklevel=3)


def find_files(
    folder: Path, pattern: str, identifier: Callable[[str], str] = str.upper
) -> dict[str, Path]:
    """Files of a folder by the identifier in their names; none if the folder does not exist.

    `identifier` turns the first group of the pattern into the identifier, by default into capitals.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if parts := re.fullmatch(pattern, path.name, re.IGNORECASE):
            name = identifier(parts[1])
            if name in found:
                raise ValueError(
                    f"{path}: {found[name]} also has the identifier {name}. Remove one of the two."
                )
            found[name] = path
    return found


def require_files(found: Sized, what: str, where: Path, layout: str) -> None:
    """Raise an error unless the folder exists and files were found in it."""
    if not where.is_dir():
        raise FileNotFoundError(f"{where}: this folder does not exist.\n{layout}")
    if not found:
        raise FileNotFoundError(f"{where}: the folder holds no {what}.\n{layout}")


def match_files(
    images: dict[str, Path],
    labels: dict[str, Path],
    fovs: dict[str, Path],
    seconds: dict[str, Path],
) -> list[FundusFiles]:
    """Match each image with its masks. A kind of mask must exist for all images or for none."""
    kinds = {"vessel mask": labels, "field of view": fovs, "second observer's mask": seconds}
    for kind, masks in kinds.items():
        if strays := masks.keys() - images.keys():
            raise ValueError(
                f"{masks[min(strays)]}: this {kind} has no image {min(strays)}. "
                "Unpack the archive again, or remove this file."
            )
        if masks and (bare := images.keys() - masks.keys()):
            raise FileNotFoundError(
                f"{images[min(bare)]}: this image has no {kind}, but others have one, such as "
                f"{min(masks.values())}. Unpack the archive again, add the file, or "
                "remove the image."
            )
    return [
        FundusFiles(name, images[name], labels.get(name), fovs.get(name), seconds.get(name))
        for name in sorted(images)
    ]
