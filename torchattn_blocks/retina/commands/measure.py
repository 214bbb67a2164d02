"""The command ``measure``."""

import math
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ._folder import check_folder
from ._measuring import FILE, check_measuring, measures_file, quality


@dataclass(frozen=True)
class Measure:
    """Measure vessel masks: density, length, width, branches, tortuosity, fractal dimension.

    Writes measures.csv to the folder --out, a row for each image, and prints a line on its quality.
    A mask that cannot be read does not stop the others. Needs the extra [measures]. For research;
    not for diagnosis.
    """

    masks: Positional[Path]
    """Folder of vessel masks, vessels white on black, such as segment writes it."""
    fov: Path | None = None
    """Folder of fields of view, named as the vessel masks or with the same numbers. By default
    those that segment wrote beside the masks or, if there are none, the whole images."""
    out: Path = Path("runs/measure")
    """Folder to write to."""
    um_per_pixel: float | None = None
    """Micrometres of the retina that a pixel of the image shows, for columns in micrometres."""
    min_size: float | None = None
    """Leave out connected vessels of fewer pixels; by default a square whose side is a hundredth
    of the diameter of the field of view. 0 keeps all."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        check_measuring("measure", self.um_per_pixel)
        if self.min_size is not None and not 0 <= self.min_size < math.inf:
            raise ValueError(f"--min-size must be at least 0 and finite, got {self.min_size}")
        from tqdm import tqdm

        from ..measures.folder import list_masks
        from ._bar import image_bar

        files = list_masks(self.masks, self.fov)
        if files[0].fov is None:
            print("No fields of view found: the whole images are measured.")
        self.out.mkdir(parents=True, exist_ok=True)
        failures = []
        path = self.out / FILE
        with (
            measures_file(path, self.um_per_pixel) as measures,
            image_bar(len(files), files) as bar,
        ):
            for one in bar:
                try:
                    measures[one.name] = one.measure(self.min_size)
                except (OSError, ValueError) as error:
                    failures.append(str(error))
                    continue
                tqdm.write(f"{one.name}: {quality(measures[one.name])}")
        if failures:
            count = f"{len(failures)} of {len(files)} masks"
            raise ValueError("\n".join([f"{count} could not be measured:", *failures]))
        print(path)
