"""The paper's experiments: which images are trained on, validated on and tested.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, section 4.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from .._check import check_ints
from .data.decode import opened_image
from .data.files import FundusFiles
from .data.tensors import padded_side
from .names import RecipeName
from .training.recipe import CAMERAS_RECIPE, CROPS_RECIPE, Recipe

T = TypeVar("T")


class Split(NamedTuple):
    """The three parts of a data set.

    Attributes:
        training: Images to train on.
        validation: Images to choose an epoch or a threshold by.
        test: Images to score.

    Example:
        >>> from torchattn_blocks.retina import Split
        >>> training, validation, test = Split([], [], [])
    """

    training: list[FundusFiles]
    validation: list[FundusFiles]
    test: list[FundusFiles]


@dataclass(frozen=True)
class Protocol:
    """How a data set is split, and how a network is trained on it.

    The paper scores the weights of the last epoch. Images are padded as in training, and
    probability maps are cropped back before they are scored.

    Attributes:
        validation: Names of the validation images.
        test: Names of the test images. All other images are for training.
        p: DropBlock's drop probability, ``1 - keep_prob``. The block size is 7.
        recipe: How the network is trained.

    Example:
        >>> from torchattn_blocks.retina import Protocol, Recipe
        >>> protocol = Protocol(validation=("07",), test=("08", "09"), p=0.1, recipe=Recipe())
    """

    validation: tuple[str, ...]
    test: tuple[str, ...]
    p: float
    recipe: Recipe

    def split(self, files: Sequence[FundusFiles]) -> Split:
        """Split the images of a data set into training, validation and test.

        Args:
            files: All images of the data set, for example from `list_drive`.

        Raises:
            ValueError: If `files` lacks a validation or test image, or holds no image to train on.

        Example:
            >>> from pathlib import Path
            >>> from torchattn_blocks.retina import DRIVE_PROTOCOL, FundusFiles
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
                f"{', '.join(by_name) or 'none'}. Unpack the archive of the data set again."
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
"""DRIVE: 18 training, 2 validation and 20 test images, padded to 592 x 592; p = 0.15; 200 epochs in
batches of 2, the learning rate falls to a tenth after 150.
"""

CHASE_DB1_PROTOCOL = Protocol(
    validation=("09R", "10L"),
    test=tuple(f"{n}{eye}" for n in range(11, 15) for eye in "LR"),
    p=0.22,
    recipe=Recipe(epochs=150, batch_size=1, first_part=100 / 150, side=1008),
)
"""CHASE_DB1: 18 training images, 2 validation images of the same patients and 8 test images, padded
to 1008 x 1008; p = 0.22; 150 epochs in batches of 1, the learning rate falls to a tenth after 100.
"""


def on_crops(protocol: Protocol, recipe: Recipe = CROPS_RECIPE) -> Protocol:
    """The same split, trained by a recipe on crops instead of the paper's.

    Args:
        protocol: The protocol whose images are used.
        recipe: By default the recipe of the shipped weights; `CAMERAS_RECIPE` is for images of
            cameras that took no training image.

    Returns:
        A protocol with this recipe and the DropBlock rate of the shipped weights, p = 0.05.

    Example:
        >>> from torchattn_blocks.retina import DRIVE_PROTOCOL, on_crops
        >>> protocol = on_crops(DRIVE_PROTOCOL)
        >>> protocol.recipe.steps, protocol.p, protocol.validation
        (1900, 0.05, ('23', '40'))
    """
    return replace(protocol, recipe=recipe, p=0.05)


def _as_it_is(protocol: Protocol) -> Protocol:
    return protocol


# By the names that the command `train` accepts.
RECIPES: Mapping[RecipeName, Callable[[Protocol], Protocol]] = {
    "paper": _as_it_is,
    "crops": on_crops,
    "cameras": partial(on_crops, recipe=CAMERAS_RECIPE),
}


def cross_validation(split: Split, fold: int, folds: int) -> Split:
    """Split the training and validation images anew, to compare recipes without the test images.

    Patients are dealt out to the folds in turn, in the order of their names. (Images ``07L`` and
    ``07R`` are of one patient.) The images of one fold's patients are scored and left out of
    training. Every eighth of the other patients is for validation.

    Args:
        split: The split of a protocol. Its test images are left out.
        fold: Number of the fold to score, from 1 to `folds`.
        folds: How many folds there are, at least 2.

    Returns:
        Training, validation and scored images.

    Raises:
        TypeError: If `fold` or `folds` is not an int.
        ValueError: If `fold` or `folds` is outside the bounds above, or there are too few images.

    Example:
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import FundusFiles, Split, cross_validation
        >>> files = [FundusFiles(f"{n}", Path(), None, None, None) for n in range(10, 20)]
        >>> parts = cross_validation(Split(files, [], []), 1, 5)
        >>> [[file.name for file in part] for part in parts[1:]]
        [['19'], ['10', '15']]
    """
    check_ints("cross_validation", 2, folds=folds)
    check_ints("cross_validation", 1, folds, fold=fold)
    files = sorted([*split.training, *split.validation], key=lambda file: file.name)
    patients = list(dict.fromkeys(patient_of(file.name) for file in files))
    others = patients.copy()
    del others[fold - 1 :: folds]
    parts = (*_hold_out(others, 8), patients[fold - 1 :: folds])
    training, validation, scored = (
        [file for file in files if patient_of(file.name) in part] for part in parts
    )
    if not (training and validation and scored):
        raise ValueError(
            f"cross_validation: split must have images for training, validation and {folds} folds, "
            f"got {len(patients)} patients"
        )
    return Split(training, validation, scored)


def folder_protocol(files: Sequence[FundusFiles]) -> Protocol:
    """Choose training, validation and test images of your own folders, by their names.

    Images below a folder ``test/`` are test images; images below ``validation/``, ``validate/`` or
    ``val/`` are validation images; all others are training images. Without a folder ``test/``,
    every fifth training image becomes a test image. Without a folder for validation, every tenth of
    the remaining ones becomes a validation image. If there are fewer than five images (or ten, for
    validation), it is the last one.

    Args:
        files: The images, from `list_folder`.

    Returns:
        The protocol, with the paper's DropBlock for DRIVE. Its recipe pads images to the longest
        side of all images, rounded up to a multiple of 8.

    Raises:
        FileNotFoundError: If an image file no longer exists.
        ValueError: If there are fewer than three images or no training image, a training or
            validation image has no vessel mask, two images have the same name, or an image cannot
            be decoded.

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
            "once. Pass images of one list_folder call."
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
            "folder_protocol: files must hold at least 1 training, 1 validation and 1 test image, "
            f"got {len(files)} images and no training image. Add images outside test/ and "
            "validation/."
        )
    if bare := [file.name for file in (*training, *validation) if file.label is None]:
        raise ValueError(
            "folder_protocol: every training and validation image must have a label; missing: "
            f"{', '.join(bare)}. Add them, or move these images into a folder test/."
        )
    side = padded_side(max(_longest_side(file.image) for file in files))
    return Protocol(
        validation=tuple(file.name for file in validation),
        test=tuple(file.name for file in test),
        p=0.15,
        recipe=Recipe(side=side),
    )


def is_test(name: str) -> bool:
    """Whether an image of a folder lies below a folder ``test/``, by its name."""
    return "test" in PurePosixPath(name).parent.parts


def _part(name: str) -> str:
    """The part of an image, from the folders in its name."""
    above = PurePosixPath(name).parent.parts
    if is_test(name):
        return "test"
    return "validation" if {*above} & {"validation", "validate", "val"} else "training"


def patient_of(name: str) -> str:
    """The name of an image without its eye: ``07`` of ``07L`` and of ``07_right``."""
    return re.sub(r"(?<=\d)[ _-]?(L|R|left|right)$", "", name, flags=re.IGNORECASE)


def _hold_out(files: list[T], nth: int) -> tuple[list[T], list[T]]:
    """Split a list: first the others, then every nth one, or the last if there are fewer than n."""
    nth = min(nth, len(files)) or 1
    held = slice(nth - 1, None, nth)
    stay = files.copy()
    del stay[held]
    return stay, files[held]


def _longest_side(path: Path) -> int:
    with opened_image(path) as image:  # decodes the header only
        return max(image.size)
