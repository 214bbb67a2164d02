"""The command that draws vessels."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True)
class Segment:
    """Draw the vessels of fundus images, of any camera, at their own size.

    For each image NAME the folder given as --out receives NAME-probability.png (16-bit grey, 65535
    is a probability of 1), NAME-vessels.png (white where the probability is above the threshold)
    and NAME-overlay.png (the image with its vessels marked). Outside the field of view nothing is
    vessel. An image that cannot be read does not stop the others. For research; not for diagnosis.
    """

    images: Positional[tuple[Path, ...]]
    """Colour fundus images, or folders of them."""
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
            raise ValueError("segment: give one image or folder at least")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie in [0, 1], got {self.threshold}")
        from ..data.files import EXTENSION  # now: --help must not wait for what this loads

        paths = list(_images(self.images, EXTENSION))
        if not paths:
            raise FileNotFoundError(f"{self.images[0]}: the folder holds no image")
        stems = Counter(path.stem for path in paths)
        if twice := [stem for stem, times in stems.items() if times > 1]:
            raise ValueError(
                f"segment: images must differ in their names, got {', '.join(twice)} twice"
            )
        self._draw(paths)

    def _draw(self, paths: list[Path]) -> None:
        import numpy as np
        from numpy.typing import NDArray
        from PIL import Image
        from tqdm import tqdm

        from ..data.files import FundusFiles
        from ..evaluation.plots import overlay
        from ..predict import segment
        from ..weights import named_weights
        from ._device import to_accelerator

        trained = to_accelerator(named_weights(self.weights))
        self.out.mkdir(parents=True, exist_ok=True)
        failures = []
        for path in tqdm(paths, unit="image"):
            try:
                fundus = FundusFiles(path.stem, path, None, None, None).read()
                probability = segment(fundus.image, trained, fov=fundus.fov, flips=self.flips)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            probability *= fundus.fov  # beyond the rim there is no retina
            vessels = probability > self.threshold
            pictures: dict[str, NDArray[Any]] = {
                "probability": np.rint(probability * 65535).astype(np.uint16),
                "vessels": vessels.astype(np.uint8) * 255,
                "overlay": overlay(fundus.image, vessels),
            }
            for kind, pixels in pictures.items():
                Image.fromarray(pixels).save(self.out / f"{path.stem}-{kind}.png")
            tqdm.write(str(self.out / f"{path.stem}-overlay.png"))
        if failures:
            count = f"{len(failures)} of {len(paths)} images"
            raise ValueError("\n".join([f"{count} could not be segmented:", *failures]))


def _images(given: tuple[Path, ...], extension: str) -> Iterator[Path]:
    """The files among what was given, and those in the folders among it."""
    for path in given:
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if re.search(extension + "$", file.name, re.IGNORECASE) and file.name[0] != ".":
                    yield file
        else:
            yield path
