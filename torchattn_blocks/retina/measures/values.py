"""The measures of one vessel mask: a typed value, and the row of a table."""

from dataclasses import dataclass

from ..._check import check_numbers
from .columns import MEASURES

Cell = float | int


@dataclass(frozen=True)
class VesselMeasures:
    """The result of `measure_vessels`: the vessels of one image, inside the field of view.

    Lengths and widths are in pixels of the image. A measure is NaN where nothing can be measured,
    such as the tortuosity of an image without a long segment.

    Attributes:
        density: Area of the vessels divided by the area of the field of view.
        length: Length of the centre lines in pixels.
        mean_width: Area of the vessels divided by `length`, in pixels.
        median_width: Median over the segments of each segment's width, in pixels.
        segments: Number of pieces of vessel between branch points and end points.
        branch_points: Number of places where vessels branch or cross.
        end_points: Number of free ends, including those where the field of view ends.
        tortuosity: Length along a segment divided by the distance of its ends, 1 or more: mean over
            long segments that are not loops, weighted by their lengths.
        curvature: Mean absolute curvature of the same segments, in radians per pixel.
        fractal_dimension: Box-counting dimension of the centre lines.
        fractal_r2: How well a line fits the logarithms of the counts, from 0 to 1.
        fractal_sizes: Smallest and largest side of the counted boxes in pixels.
        fov_diameter: Diameter of the field of view in pixels.
        fov_share: Part of the image that is field of view.
        speck_share: Part of the vessel pixels left out as specks.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import VesselMeasures, measure_vessels
        >>> bar = np.zeros((64, 64), bool)
        >>> bar[30:34, 5:60] = True
        >>> measures = measure_vessels(bar)
        >>> isinstance(measures, VesselMeasures), measures.segments, measures.end_points
        (True, 1, 2)
    """

    density: float
    length: float
    mean_width: float
    median_width: float
    segments: int
    branch_points: int
    end_points: int
    tortuosity: float
    curvature: float
    fractal_dimension: float
    fractal_r2: float
    fractal_sizes: tuple[float, float]
    fov_diameter: int
    fov_share: float
    speck_share: float

    def row(self, um_per_pixel: float | None = None) -> dict[str, Cell]:
        """The measures as the row of a table, by the names of its columns.

        Lengths are in pixels (``_px``), in diameters of the field of view (``_fov``) and, if a
        scale is given, in micrometres (``_um``). Curvatures are per pixel, per diameter and per
        micrometre.

        Args:
            um_per_pixel: Micrometres of the retina that a pixel shows, above 0.

        Raises:
            TypeError: If `um_per_pixel` is not a number.
            ValueError: If `um_per_pixel` is not above 0.

        Example:
            >>> import numpy as np
            >>> from torchattn_blocks.retina import measure_vessels
            >>> bar = np.zeros((64, 64), bool)
            >>> bar[30:34, 5:60] = True
            >>> row = measure_vessels(bar).row(um_per_pixel=20)
            >>> round(row["length_um"] / row["length_px"]), round(row["length_fov"], 1)
            (20, 0.9)
        """
        if um_per_pixel is not None:
            check_numbers("VesselMeasures.row", 0, ends="(]", um_per_pixel=um_per_pixel)
        units = {"": 1, "px": 1.0, "fov": 1 / self.fov_diameter}
        if um_per_pixel is not None:
            units["um"] = um_per_pixel
        smallest, largest = self.fractal_sizes
        return {
            **{
                column: getattr(self, measure.name) * units[unit] ** measure.power
                for measure in MEASURES
                for column, unit in measure.columns().items()
                if unit in units
            },
            "fractal_r2": self.fractal_r2,
            "fractal_smallest_px": smallest,
            "fractal_largest_px": largest,
            "fov_diameter_px": self.fov_diameter,
            "fov_share": self.fov_share,
            "speck_share": self.speck_share,
        }
