"""The command that draws vessel masks."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tyro.conf import Positional

from ..data.files import FundusFiles
from ..evaluation.plots import overlay
from ..predict import segment
from ..weights import load_pretrained
from ._device import to_accelerator


@dataclass(frozen=True)
class Segment:
    """Draw vessel masks of fundus images, of any camera, at their own size.

    For each image NAME the folder given as --out receives NAME-probability.png (black 0, white
    1), NAME-vessels.png (white where the probability is above the threshold) and NAME-overlay.png
    (the image with its vessels marked). For research; not for diagnosis.
    """

    images: Positional[tuple[Path, ...]]
    """Colour images of the fundus."""
    weights: str = "drive"
    """Weights that come with the library, by name, or a file that train wrote."""
    out: Path = Path("runs/segment")
    """Folder to write to."""
    threshold: float = 0.5
    """A pixel above it is taken for vessel."""
    flips: bool = False
    """Average over each image and its three mirror images: four times the work."""

    def __call__(self) -> None:
        """Run the command."""
        if not self.images:
            raise ValueError("segment: give one image at least")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie in [0, 1], got {self.threshold}")
        stems = Counter(path.stem for path in self.images)
        if twice := [stem for stem, times in stems.items() if times > 1]:
            raise ValueError(
                f"segment: images must differ in their names, got {', '.join(twice)} twice"
            )
        trained = to_accelerator(load_pretrained(self.weights))
        self.out.mkdir(parents=True, exist_ok=True)
        for path in self.images:
            fundus = FundusFiles(path.stem, path, label=None, fov=None, second_label=None).read()
            probability = segment(fundus.image, trained, fov=fundus.fov, flips=self.flips)
            probability *= fundus.fov  # beyond the rim there is no retina
            vessels = probability > self.threshold
            for kind, pixels in {
                "probability": np.rint(probability * 255).astype(np.uint8),
                "vessels": vessels.astype(np.uint8) * 255,
                "overlay": overlay(fundus.image, vessels),
            }.items():
                Image.fromarray(pixels).save(self.out / f"{path.stem}-{kind}.png")
            print(self.out / f"{path.stem}-overlay.png")
