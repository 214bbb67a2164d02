"""The command ``segment``."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True)
class Segment:
    """Find the vessels in fundus images of any camera and size.

    Writes to the folder --out, for each image NAME: NAME-probability.png (16-bit grey, 65535 is a
    probability of 1), NAME-vessels.png (white where the probability is above the threshold) and
    NAME-overlay.png (the image with its vessels marked). Outside the field of view the probability
    is 0. With --uncertainty also NAME-uncertainty.png. An image that cannot be read does not stop
    the others. For research; not for diagnosis.
    """

    images: Positional[tuple[Path, ...]]
    """Colour fundus images, or folders of them."""
    weights: str = "drive"
    """Name of shipped weights (drive, chase_db1), or a weights file written by train."""
    out: Path = Path("runs/segment")
    """Folder to write to."""
    threshold: float = 0.5
    """A pixel with a probability above it counts as vessel."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    uncertainty: int | None = None
    """Also segment each image so many times with random blocks dropped, 20 for example, and write
    the standard deviation of the probability: NAME-uncertainty.png (16-bit grey, 65535 is 0.5). It
    takes so many times as long. Only networks with DropBlock can do it."""

    def __call__(self) -> None:
        """Run the command."""
        if not self.images:
            raise ValueError("segment: images must name at least 1 image or folder, got none")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie in [0, 1], got {self.threshold}")
        if self.uncertainty is not None and self.uncertainty < 2:
            raise ValueError(f"--uncertainty must be at least 2, got {self.uncertainty}")
        from ..data.search import EXTENSION  # here, so that --help need not load it

        paths = list(_images(self.images, EXTENSION))
        if not paths:
            raise FileNotFoundError(f"{self.images[0]}: this folder holds no image")
        stems = Counter(path.stem for path in paths)
        if twice := [stem for stem, times in stems.items() if times > 1]:
            raise ValueError(
                "segment: images must have different names without their endings, got "
                f"{', '.join(twice)} more than once"
            )
        self._draw(paths)

    def _draw(self, paths: list[Path]) -> None:
        import numpy as np
        from numpy.typing import NDArray
        from PIL import Image
        from tqdm import tqdm

        from ..data.files import FundusFiles
        from ..data.predictions import save_prediction
        from ..evaluation.sheet import overlay
        from ..predict import check_drops, segment, segment_monte_carlo
        from ..weights import named_weights
        from ._device import to_accelerator

        trained = to_accelerator(named_weights(self.weights))
        if self.uncertainty is not None:
            check_drops("--uncertainty", trained)
        self.out.mkdir(parents=True, exist_ok=True)
        failures = []
        for path in tqdm(paths, unit="image"):
            std = None
            try:
                fundus = FundusFiles(path.stem, path, None, None, None).read()
                image, fov = fundus.image, fundus.fov
                probability = segment(image, trained, fov=fov, flips=self.flips)
                if self.uncertainty is not None:
                    _, std = segment_monte_carlo(image, trained, self.uncertainty, fov=fov)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            probability *= fov
            vessels = probability > self.threshold
            save_prediction(self.out / f"{path.stem}-probability.png", probability)
            if std is not None:
                # White is the largest deviation of many probabilities. Of few it may be larger.
                shown = np.minimum(2 * std, 1) * fov
                save_prediction(self.out / f"{path.stem}-uncertainty.png", shown)
            pictures: dict[str, NDArray[Any]] = {
                "vessels": vessels.astype(np.uint8) * 255,
                "overlay": overlay(image, vessels),
            }
            for kind, pixels in pictures.items():
                Image.fromarray(pixels).save(self.out / f"{path.stem}-{kind}.png")
            tqdm.write(str(self.out / f"{path.stem}-overlay.png"))
        if failures:
            count = f"{len(failures)} of {len(paths)} images"
            raise ValueError("\n".join([f"{count} could not be segmented:", *failures]))


def _images(given: tuple[Path, ...], extension: str) -> Iterator[Path]:
    """The given files, and the images in the given folders."""
    for path in given:
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if re.search(extension + "$", file.name, re.IGNORECASE) and file.name[0] != ".":
                    yield file
        else:
            yield path
