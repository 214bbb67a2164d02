"""Measures of many images as CSV."""

import math
from collections.abc import Mapping

from ..write import csv_text
from .values import Cell, VesselMeasures


def measures_csv(measures: Mapping[str, VesselMeasures], um_per_pixel: float | None = None) -> str:
    """A row for each image, sorted by name; its column ``image`` has the name.

    What is NaN is an empty cell.
    """
    rows = {name: one.row(um_per_pixel) for name, one in sorted(measures.items())}
    head = next(iter(rows.values()), {})
    return csv_text(
        ["image", *head], ([name, *map(_text, row.values())] for name, row in rows.items())
    )


def _text(value: Cell) -> str:
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"
