"""The files of one fundus image."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from ..fundus import Fundus
from .decode import decode, read_mask
from .fov import estimate_fov, fov_fault


@dataclass(frozen=True)
class FundusFiles:
    """The paths of the files of one fundus image. Only :meth:`read` opens them.

    Attributes:
        name: Identifier of the image within its data set, such as ``"21"`` or ``"01L"``.
        image: The colour image.
        label: Vessel mask by the first observer, or None if there is none.
        fov: Field of view, or None to estimate it from the image.
        second_label: Vessel mask by the second observer, or None.
        dataset: Name of the data set, for trainings on several; may be empty.

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
    dataset: str = ""

    def read(self) -> Fundus:
        """Decode the files.

        Returns:
            The image, with RGB values (H, W, 3) and masks (H, W). Without a file for the field of
            view, it is :func:`~torchattn_blocks.retina.estimate_fov` of the image.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file cannot be decoded, a mask has another height or width than the
                image or more than two values, the field of view is not one large region, or more
                than 40 % of it is vessel. If less than 1 % is vessel, there is a warning.

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
        return Fundus(self.name, image, label, fov, second, self.dataset)


def _check_share(path: Path | None, share: float) -> None:
    """Check the fraction of vessel in the field of view, .07 to .17 on DRIVE and CHASE_DB1."""
    if share > 0.4:
        raise ValueError(
            f"{path}: vessels must cover at most 40 % of the field of view, got {share:.0%}. They "
            "must be white on black: invert the mask, or replace it if it shows something else."
        )
    if share < 0.01:
        warnings.warn(f"{path}: vessels cover only {share:.1%} of the field of view", stacklevel=3)
