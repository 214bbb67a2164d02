"""Measures of many images as CSV."""

from collections.abc import Mapping

from ..write import cell_text, csv_text
from .values import VesselMeasures


def measures_csv(measures: Mapping[str, VesselMeasures], um_per_pixel: float | None = None) -> str:
    """A row for each image, sorted by name; its column ``image`` has the name.

    A NaN is an empty cell.
    """
    rows = {name: one.row(um_per_pixel) for name, one in sorted(measures.items())}
    head = next(iter(rows.values()), {})
    return csv_text(
        ["image", *head], ([name, *map(cell_text, row.values())] for name, row in rows.items())
    )
