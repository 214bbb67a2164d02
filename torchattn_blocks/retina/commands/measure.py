"""The command ``measure``."""

import math
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ._folder import check_folder
from ._measuring import FILE, check_measuring, found_masks, measure_files, measures_file


@dataclass(frozen=True)
class Measure:
    """Measure vessel masks: density, length, width, branches, tortuosity, fractal dimension.

    Writes measures.csv to the folder --out, with a row for each image, and prints a line on its
    quality. If a mask cannot be read, goes on with the others. Needs the extra [measures]. For
    research; not for diagnosis.
    """

    masks: Positional[Path]
    """Folder of vessel masks (vessels white on black), or the folder that segment wrote to."""
    fov: Path | None = None
    """Folder of fields of view, with the names or the numbers of the vessel masks. By default the
    fields of view that segment wrote beside the masks or, if there are none, the whole images."""
    out: Path = Path("runs/measure")
    """Folder to write to."""
    um_per_pixel: float | None = None
    """Micrometres of the retina that a pixel of the image shows, for columns in micrometres."""
    min_size: float | None = None
    """Leave out connected vessels of fewer pixels; by default of fewer than (diameter of the field
    of view / 100) squared. 0 keeps all."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        check_measuring("measure", self.um_per_pixel)
        if self.min_size is not None and not 0 <= self.min_size < math.inf:
            raise ValueError(f"--min-size must be at least 0 and finite, got {self.min_size}")
        files = found_masks(self.masks, self.fov)
        self.out.mkdir(parents=True, exist_ok=True)
        with measures_file(self.out / FILE, self.um_per_pixel) as measures:
            failures = measure_files(files, measures, self.min_size)
        if failures:
            count = f"{len(failures)} of {len(files)} masks"
            raise ValueError("\n".join([f"{count} could not be measured:", *failures]))
