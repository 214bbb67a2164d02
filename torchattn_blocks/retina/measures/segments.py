"""Length, width and bends of the segments of vessels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..specks import without_specks
from .curves import Curve, smooth_curve
from .graph import Segment, VesselGraph, vessel_graph
from .widths import curve_width, ray_lengths

# Holes in vessels are closed if they are smaller than a square with this part of the diameter of
# the field of view as its side, or than 5 pixels.
_HOLE = 250
_HOLE_PIXELS = 5
# The pixels of a skeleton lie up to half a pixel beside the centre line, a variance of 1/12, and in
# drawn masks somewhat more. Outlines of large images are rougher, so it is a part of the diameter.
_DEVIATION = 0.12**0.5
_ROUGHNESS = 1600


@dataclass(frozen=True, eq=False)
class MeasuredSegment:
    """The measures of a segment.

    Attributes:
        curve: Its centre line; the vessel goes on beyond its free ends.
        length: Its length in pixels.
        width: Its mean width in pixels, or NaN if it is so short that all of it is within the width
            of a branch point.
        chord: The distance between its ends in pixels; 0 for a loop.
    """

    curve: Curve
    length: float
    width: float
    chord: float


def measured_segments(
    vessels: NDArray[np.bool_], diameter: float
) -> tuple[VesselGraph, list[MeasuredSegment]]:
    """Find the centre lines of a vessel mask (H, W), and measure each segment.

    Small holes are filled first. Which holes are small, and how much a curve smooths, depends on
    the diameter of the field of view in pixels, so that images of any size are measured alike.
    """
    hole = max(_HOLE_PIXELS, (diameter / _HOLE) ** 2)
    closed = ~without_specks(~vessels, hole, connectivity=1)
    graph = vessel_graph(closed)
    deviation = max(_DEVIATION, diameter / _ROUGHNESS)
    return graph, [_measured(closed, segment, deviation) for segment in graph.segments]


def _measured(vessels: NDArray[np.bool_], segment: Segment, deviation: float) -> MeasuredSegment:
    """Measure a segment, with a curve that deviates from its pixels by so much.

    At a free end it reaches as far as the vessel does in its direction.
    """
    curve = smooth_curve(segment.path, deviation, is_ring=segment.is_ring)
    reach = 2 * segment.radius + 2  # more than half the width at the widest place
    outwards = curve.directions[[0, -1]] * [[-1], [1]]
    tips = ray_lengths(vessels, curve.points[[0, -1]], outwards, reach) * segment.is_free
    length = curve.length + float(tips.sum())
    # Taken from the pixels: a smooth curve ends on the inner side of a bend.
    first, last = segment.path[[0, -1]] + tips[:, None] * outwards
    chord = min(float(np.linalg.norm(last - first)), length)
    return MeasuredSegment(
        curve,
        length,
        curve_width(vessels, curve, segment.zones, reach),
        0.0 if segment.is_loop else chord,
    )
