"""The measures for comparing two sets, and their columns in a table."""

from collections.abc import Collection
from dataclasses import dataclass

SIZE = "fov_diameter_px"
# Their forms in column names, and in titles for readers.
_UNITS = {"px": "px", "fov": "FOV diameters", "um": "µm"}


@dataclass(frozen=True)
class Measure:
    """A measure of vessels.

    Attributes:
        name: Its name in `VesselMeasures`.
        title: Its name for a reader.
        power: Power of the unit of length: 1 for a length, -1 for a curvature, 0 without a unit.
    """

    name: str
    title: str
    power: int = 0

    def columns(self) -> dict[str, str]:
        """The unit of each of its columns: px, fov or um, or nothing."""
        units = _UNITS if self.power else [""]
        return {f"{self.name}_{unit}".rstrip("_"): unit for unit in units}


MEASURES = (
    Measure("density", "density"),
    Measure("length", "length", 1),
    Measure("mean_width", "mean width", 1),
    Measure("median_width", "median width", 1),
    Measure("segments", "segments"),
    Measure("branch_points", "branch points"),
    Measure("end_points", "end points"),
    Measure("tortuosity", "tortuosity"),
    Measure("curvature", "curvature", -1),
    Measure("fractal_dimension", "fractal dimension"),
)
COLUMNS = tuple(column for measure in MEASURES for column in measure.columns())


def one_unit(columns: Collection[str], *, same_size: bool) -> dict[str, tuple[Measure, str]]:
    """One column for each measure that has a column: the measure, and its title with the unit.

    Args:
        columns: The columns to choose from.
        same_size: Whether pixels mean the same in both sets. If not, lengths in diameters of the
            field of view come first.

    Example:
        >>> from torchattn_blocks.retina.measures.columns import one_unit
        >>> chosen = one_unit(["length_px", "length_fov", "segments"], same_size=False)
        >>> {column: title for column, (_, title) in chosen.items()}
        {'length_fov': 'length (FOV diameters)', 'segments': 'segments'}
    """
    order = ["", "px", "um", "fov"] if same_size else ["", "fov", "um", "px"]
    chosen = {}
    for measure in MEASURES:
        there = {unit: column for column, unit in measure.columns().items() if column in columns}
        for unit in [unit for unit in order if unit in there][:1]:
            shown = _UNITS.get(unit, "")
            shown = f"1/{shown.rstrip('s')}" if measure.power < 0 else shown
            chosen[there[unit]] = (measure, f"{measure.title} ({shown})" if unit else measure.title)
    return chosen
