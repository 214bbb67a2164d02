"""What the commands that measure vessels share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..measures.values import VesselMeasures

FILE = "measures.csv"


def check_measuring(owner: str, um_per_pixel: float | None) -> None:
    """Raise unless vessels can be measured, with these micrometres to a pixel.

    Raises:
        ModuleNotFoundError: If a package is missing.
        ValueError: If a pixel shows no positive number of micrometres.
    """
    from ..measures.skeleton import check_installed

    check_installed(owner)
    if um_per_pixel is not None and not 0 < um_per_pixel < math.inf:
        raise ValueError(f"--um-per-pixel must be above 0 and finite, got {um_per_pixel}")


@contextmanager
def measures_file(path: Path, um_per_pixel: float | None) -> "Iterator[dict[str, VesselMeasures]]":
    """Measures to be filled in by the names of images. They are written, also after Ctrl-C."""
    measures: dict[str, VesselMeasures] = {}
    try:
        yield measures
    finally:
        if measures:
            from ..measures.table import measures_csv
            from ..write import write_whole

            write_whole(path, measures_csv(measures, um_per_pixel).encode())


def quality(measures: "VesselMeasures") -> str:
    """One line on whether the measures of an image can be trusted."""
    width = measures.mean_width / measures.fov_diameter
    return (
        f"field of view {measures.fov_share:.0%} of the image, mean width {width:.2%} of its "
        f"diameter, specks {measures.speck_share:.1%} of the vessel pixels"
    )
