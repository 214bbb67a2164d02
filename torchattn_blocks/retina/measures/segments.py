"""Length, width and bends of one segment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curves import smooth_curve
from .graph import Segment
from .widths import curve_width, ray_lengths


@dataclass(frozen=True)
class MeasuredSegment:
    """The measures of a segment.

    Attributes:
        length: Its length in pixels.
        width: Its mean width in pixels, or NaN if it is so short that all of it is within the width
            of a branch point.
        chord: The distance between its ends in pixels; 0 for a loop.
        curvature: The mean absolute curvature of its centre line, in radians per pixel.
    """

    length: float
    width: float
    chord: float
    curvature: float


def measured(vessels: NDArray[np.bool_], segment: Segment) -> MeasuredSegment:
    """Measure a segment of a vessel mask (H, W).

    At a free end it reaches as far as the vessel does in its direction.
    """
    curve = smooth_curve(segment.path, is_ring=segment.is_ring)
    reach = 2 * segment.radius + 2  # beyond what is half as wide as the widest place
    ends = curve.points[[0, -1]]
    outwards = curve.directions[[0, -1]] * [[-1], [1]]
    tips = ray_lengths(vessels, ends, outwards, reach) * segment.is_free
    first, last = ends + tips[:, None] * outwards
    return MeasuredSegment(
        curve.length + float(tips.sum()),
        curve_width(vessels, curve, segment.zones, reach),
        0.0 if segment.is_loop else float(np.linalg.norm(last - first)),
        curve.curvature,
    )
