"""The paper's experiments: which images train, how they are padded, and for how long.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, section 4.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .data.decode import opened_image
from .data.files import FundusFiles
from .training.recipe import Recipe

_MULTIPLE = 8  # of the side: the paper's networks halve it three times


class Split(NamedTuple):
    """The three parts of a data set."""

    training: list[FundusFiles]
    validation: list[FundusFiles]
    test: list[FundusFiles]


@dataclass(frozen=True)
class Protocol:
    """One data set as the paper uses it.

    Attributes:
        validation: Names of the images held back from training.
        test: Names of the images that are scored.
        p: The rate of DropBlock, ``1 - keep_prob``; its blocks have a side of 7.
        recipe: How the network is trained. The weights of the last epoch are scored, on images
            padded as in training, the maps cropped back before.
    """

    validation: tuple[str, ...]
    test: tuple[str, ...]
    p: float
    recipe: Recipe

    def split(self, files: Sequence[FundusFiles]) -> Split:
        """Sort the files of a data set into training, validation and test.

        Raises:
            ValueError: If an image of the validation or test part is missing, or none is left
                to train on.

        Example:
            >>> from pathlib import Path
            >>> files = [
            ...     FundusFiles(f"{n:02d}", Path(f"{n}.tif"), None, None, None)
            ...     for n in range(1, 41)
            ... ]
            >>> [len(part) for part in DRIVE_PROTOCOL.split(files)]
            [18, 2, 20]
        """
        by_name = {file.name: file for file in files}
        missing = [name for name in (*self.validation, *self.test) if name not in by_name]
        training = [file for file in files if file.name not in {*self.validation, *self.test}]
        if missing or not training:
            raise ValueError(
                f"split: files lacks {', '.join(missing) or 'images to train on'}; it has "
                f"{', '.join(by_name) or 'none'}. Restore the data set from its archive."
            )
        return Split(
            training,
            [by_name[name] for name in self.validation],
            [by_name[name] for name in self.test],
        )


DRIVE_PROTOCOL = Protocol(
    validation=("23", "40"),
    test=tuple(f"{n:02d}" for n in range(1, 21)),
    p=0.15,
    recipe=Recipe(epochs=200, batch_size=2, first_part=150 / 200, side=592),
)
"""18 images to train on, 2 to validate, the 20 of ``test/`` to score."""

CHASE_DB1_PROTOCOL = Protocol(
    validation=("09R", "10L"),
    test=tuple(f"{n}{eye}" for n in range(11, 15) for eye in "LR"),
    p=0.22,
    recipe=Recipe(epochs=150, batch_size=1, first_part=100 / 150, side=1008),
)
"""18 images to train on, 2 to validate (they share patients with training), 8 to score."""


def folder_protocol(files: Sequence[FundusFiles]) -> Protocol:
    """Choose which images of a tree of folders train, validate and test, by their names.

    An image below a folder ``test/`` is for the test, one below ``validation/`` or ``val/`` for
    validation. Where there is no folder for the test, every fifth of the other images, by
    order of names, is for it; where there is none for validation, every tenth of those that then
    remain; of fewer than five or ten, the last.

    Args:
        files: The images, as `list_folder` lists them.

    Returns:
        The protocol, with DropBlock at the paper's rate for DRIVE. Its recipe pads to the longest
        side of any image, rounded up to a multiple of 8.

    Raises:
        FileNotFoundError: If an image has gone since the folder was listed.
        ValueError: If no image remains to train on, as of fewer than three; one to train or
            to validate on has no label; two have one name; or one cannot be decoded.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import list_folder, save_folder
        >>> from torchattn_blocks.retina import folder_protocol
        >>> with tempfile.TemporaryDirectory() as root:
        ...     save_folder(root, (synthesize(seed, height=64, width=66) for seed in range(6)))
        ...     protocol = folder_protocol(list_folder(root))
        >>> protocol.validation, protocol.test, protocol.recipe.side
        (('synthetic-0005',), ('synthetic-0004',), 72)
    """
    times = Counter(file.name for file in files)
    if twice := [name for name in sorted(times) if times[name] > 1]:
        raise ValueError(
            f"folder_protocol: files must have different names, got {', '.join(twice)} more than "
            "once. List them from one root."
        )
    parts: dict[str, list[FundusFiles]] = {"training": [], "validation": [], "test": []}
    for file in sorted(files, key=lambda file: file.name):
        parts[_part(file.name)].append(file)
    training, validation, test = parts.values()
    if not test:
        training, test = _hold_out(training, 5)
    if not validation:
        training, validation = _hold_out(training, 10)
    if not training:
        raise ValueError(
            "folder_protocol: files must hold an image each to train, to validate and to test, "
            f"got {len(files)} in all, and none to train on outside test/ and validation/. "
            "Add images."
        )
    if bare := [file.name for file in (*training, *validation) if file.label is None]:
        raise ValueError(
            "folder_protocol: images to train and to validate on must have labels, which "
            f"{', '.join(bare)} lack. Add them, or move the images below a folder test/."
        )
    side = -(-max(_longest_side(file.image) for file in files) // _MULTIPLE) * _MULTIPLE
    return Protocol(
        validation=tuple(file.name for file in validation),
        test=tuple(file.name for file in test),
        p=0.15,
        recipe=Recipe(side=side),
    )


def _part(name: str) -> str:
    """Which part the folders in an image's name put it into."""
    above = PurePosixPath(name).parent.parts
    if "test" in above:
        return "test"
    return "validation" if "validation" in above or "val" in above else "training"


def _hold_out(files: list[FundusFiles], nth: int) -> tuple[list[FundusFiles], list[FundusFiles]]:
    """Part files into those that stay and every nth one; of fewer than n, the last."""
    nth = min(nth, len(files)) or 1
    held = slice(nth - 1, None, nth)
    stay = files.copy()
    del stay[held]
    return stay, files[held]


def _longest_side(path: Path) -> int:
    with opened_image(path) as image:  # decodes the header only
        return max(image.size)
