"""What the commands that measure vessels share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..measures.folder import MaskFiles
    from ..measures.values import VesselMeasures

FILE = "measures.csv"


def check_measuring(owner: str, um_per_pixel: float | None) -> None:
    """Raise unless vessels can be measured with so many micrometres per pixel.

    Raises:
        ModuleNotFoundError: If a package is missing.
        ValueError: If `um_per_pixel` is not a positive number.
    """
    from ..measures.skeleton import check_installed

    check_installed(owner)
    if um_per_pixel is not None and not 0 < um_per_pixel < math.inf:
        raise ValueError(f"--um-per-pixel must be above 0 and finite, got {um_per_pixel}")


def found_masks(folder: Path, fovs: Path | None) -> "list[MaskFiles]":
    """The masks of a folder, see `list_masks`. Prints what a user should know about them."""
    from ..data.search import listing
    from ..measures.folder import list_masks

    files, others = list_masks(folder, fovs)
    if others:
        names = listing([path.name for path in others])
        print(f"Of {folder}, only the vessel masks are measured that segment wrote, not {names}.")
    if files[0].fov is None:
        print(f"No fields of view found: the whole images of {folder} are measured.")
    return files


def measure_files(
    files: "list[MaskFiles]", measures: "dict[str, VesselMeasures]", min_size: float | None = None
) -> list[str]:
    """Measure masks and print a line on the quality of each.

    Args:
        files: The masks.
        measures: The dictionary to fill: measures by image name.
        min_size: See `measure_vessels`.

    Returns:
        What is wrong with each mask that could not be measured.
    """
    from tqdm import tqdm

    from ._bar import image_bar

    failures = []
    with image_bar(len(files), files) as bar:
        for one in bar:
            try:
                measures[one.name] = one.measure(min_size)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            tqdm.write(f"{one.vessels}: {quality(measures[one.name])}")
    return failures


@contextmanager
def measures_file(path: Path, um_per_pixel: float | None) -> "Iterator[dict[str, VesselMeasures]]":
    """A dictionary to fill with measures by image name, written at the end, even after Ctrl-C.

    If it is empty at the end, an older file is removed.
    """
    measures: dict[str, VesselMeasures] = {}
    try:
        yield measures
        if not measures:
            path.unlink(missing_ok=True)
    finally:
        if measures:
            from ..measures.table import measures_csv
            from ..write import write_whole

            write_whole(path, measures_csv(measures, um_per_pixel).encode())
            print(path)


def quality(measures: "VesselMeasures") -> str:
    """One line on whether the measures of an image can be trusted."""
    width = measures.mean_width / measures.fov_diameter
    found = "no vessels" if math.isnan(width) else f"mean width {width:.2%} of its diameter"
    return (
        f"field of view {measures.fov_share:.0%} of the image, {found}, "
        f"specks {measures.speck_share:.1%} of the vessel pixels"
    )
