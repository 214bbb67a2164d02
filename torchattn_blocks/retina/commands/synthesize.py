"""The command ``synthesize``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ._folder import check_folder


@dataclass(frozen=True)
class Synthesize:
    """Draw synthetic fundus images with exact vessel masks and fields of view.

    Writes folders images/, labels/ and masks/ to --out. Other commands read them with --dataset
    folder.
    """

    count: Annotated[Positional[int], arg(metavar="COUNT")]
    """Number of images."""
    out: Path
    """Folder to write to."""
    seed: int = 0
    """Seed of the first image; the others have the next seeds."""
    height: int = 584
    """Height of an image in pixels; the default is DRIVE's size."""
    width: int = 565
    """Width of an image in pixels."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        from tqdm import tqdm

        from ..data.folders import save_folder
        from ..data.synthetic import synthesize

        if self.count < 1:
            raise ValueError(f"synthesize: count must be at least 1, got {self.count}")
        seeds = tqdm(range(self.seed, self.seed + self.count), unit="image")
        save_folder(
            self.out,
            (synthesize(seed, height=self.height, width=self.width) for seed in seeds),
        )
        print(f"Saved {self.count} images in {self.out}")
