"""The paper's experiments: which photographs train, how they are padded, and for how long.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torchattn_blocks.retina.files import FundusFiles
from torchattn_blocks.retina.recipe import Recipe


class Split(NamedTuple):
    """The three parts of a data set."""

    training: list[FundusFiles]
    validation: list[FundusFiles]
    test: list[FundusFiles]


@dataclass(frozen=True)
class Protocol:
    """One data set as the paper uses it.

    Attributes:
        validation: Names of the photographs held back from training.
        test: Names of the photographs that are scored.
        p: The rate of DropBlock, ``1 - keep_prob``; its blocks have a side of 7.
        recipe: How the network is trained. The weights of the last epoch are scored, on photographs
            padded as in training, the maps cropped back before.
    """

    validation: tuple[str, ...]
    test: tuple[str, ...]
    p: float
    recipe: Recipe

    def split(self, files: Sequence[FundusFiles]) -> Split:
        """Sort the files of a data set into training, validation and test.

        Raises:
            ValueError: If a photograph of the validation or test part is missing, or none is left
                to train on.

        Example:
            >>> from pathlib import Path
            >>> files = [
            ...     FundusFiles(f"{n:02d}", Path(f"{n}.tif"), None, None, None)
            ...     for n in range(1, 41)
            ... ]
            >>> [len(part) for part in DRIVE.split(files)]
            [18, 2, 20]
        """
        by_name = {file.name: file for file in files}
        missing = [name for name in (*self.validation, *self.test) if name not in by_name]
        training = [file for file in files if file.name not in {*self.validation, *self.test}]
        if missing or not training:
            raise ValueError(
                f"split: files lacks {', '.join(missing) or 'photographs to train on'}; it has "
                f"{', '.join(by_name) or 'none'}. Restore the data set from its archive."
            )
        return Split(
            training,
            [by_name[name] for name in self.validation],
            [by_name[name] for name in self.test],
        )


DRIVE = Protocol(
    validation=("23", "40"),
    test=tuple(f"{n:02d}" for n in range(1, 21)),
    p=0.15,
    recipe=Recipe(epochs=200, batch_size=2, first_part=150 / 200, side=592),
)
"""18 photographs to train on, 2 to validate, the 20 of ``test/`` to score."""

CHASE_DB1 = Protocol(
    validation=("09R", "10L"),
    test=tuple(f"{n}{eye}" for n in range(11, 15) for eye in "LR"),
    p=0.22,
    recipe=Recipe(epochs=150, batch_size=1, first_part=100 / 150, side=1008),
)
"""18 photographs to train on, 2 to validate (they share patients with training), 8 to score."""
