"""The command that makes images up."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Synthesize:
    """Write synthetic fundus images with exact vessel masks and fields of view.

    A folder of images/, labels/ and masks/, which the other commands read with --dataset folder.
    """

    out: Path
    """Folder to write to."""
    count: int = 20
    """How many."""
    seed: int = 0
    """Of the first; each next one has the next seed."""
    height: int = 584
    """Of an image, in pixels; as DRIVE's by default."""
    width: int = 565
    """Of an image, in pixels."""

    def __call__(self) -> None:
        """Run the command."""
        from tqdm import tqdm

        from ..data.folders import save_folder
        from ..data.synthetic import synthesize

        if self.count < 1:
            raise ValueError(f"--count must be at least 1, got {self.count}")
        seeds = tqdm(range(self.seed, self.seed + self.count), unit="image")
        save_folder(
            self.out,
            (synthesize(seed, height=self.height, width=self.width) for seed in seeds),
        )
        print(f"{self.count} images are in {self.out}")
