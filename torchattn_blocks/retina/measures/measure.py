"""Measures of one vessel mask."""

import math

import numpy as np
from numpy.typing import NDArray

from ..._check import check_numbers
from ..data.fov import fov_diameter
from ..fundus import checked_mask
from ..specks import without_specks
from .fractal import box_count
from .segments import MeasuredSegment, measured_segments
from .skeleton import check_installed
from .values import VesselMeasures

_SPECK = 100  # specks are smaller than a square with this part of the diameter as its side
_LONG = 10  # mean widths: tortuosity is measured only in longer segments
_OPEN = 5  # distances of its ends; a longer segment is almost a loop


def measure_vessels(
    vessels: NDArray[np.bool_],
    fov: NDArray[np.bool_] | None = None,
    *,
    min_size: float | None = None,
) -> VesselMeasures:
    """Measure the vessels of an image, inside its field of view.

    Centre lines come from the skeleton, with a smoothing spline through the pixels of each segment:
    a piece of vessel between two branch points or free ends. A segment is extended to the end of
    the vessel, because the skeleton ends earlier. Widths are measured across the splines, away from
    the branch points. The page on measures has the formula, the source and the error of each
    measure, and how well observers and networks agree.

    Args:
        vessels: The vessel mask, shape (H, W).
        fov: The field of view, shape (H, W); by default the whole image.
        min_size: Connected vessels of fewer pixels are specks and left out of all measures. The
            default is (diameter of the field of view / 100) squared: 29 pixels on DRIVE. 0 keeps
            all.

    Returns:
        The measures, lengths in pixels.

    Raises:
        TypeError: If `vessels` is not an array of type bool, `fov` is not an array or `min_size` is
            not a number.
        ValueError: If `vessels` is not of shape (H, W), `fov` has another shape or no True pixel,
            or `min_size` is below 0.
        ModuleNotFoundError: If skan is not installed; the extra ``[measures]`` installs it.

    Example:
        >>> from torchattn_blocks.retina import measure_vessels, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> measures = measure_vessels(fundus.label, fundus.fov)
        >>> 0.05 < measures.density < 0.2, measures.mean_width > 1
        (True, True)
    """
    check_installed("measure_vessels")
    if not isinstance(vessels, np.ndarray) or vessels.dtype != np.bool_:
        got = vessels.dtype if isinstance(vessels, np.ndarray) else type(vessels).__name__
        raise TypeError(
            f"measure_vessels: vessels must be a NumPy array of type bool, got {got}. Of values 0 "
            "and 255, pass mask > 127; of probabilities, probability > 0.5"
        )
    if vessels.ndim != 2 or 0 in vessels.shape:
        raise ValueError(f"measure_vessels: vessels must have shape (H, W), got {vessels.shape}")
    fov = (
        np.ones_like(vessels)
        if fov is None
        else checked_mask("measure_vessels", fov, vessels.shape)
    )
    if not fov.any():
        raise ValueError("measure_vessels: fov must have at least 1 True pixel, got none")
    diameter = fov_diameter(fov)
    if min_size is None:
        min_size = (diameter / _SPECK) ** 2
    check_numbers("measure_vessels", 0, min_size=min_size)

    box = tuple(
        slice(places[0], places[-1] + 1)
        for places in (np.flatnonzero(fov.any(axis=axis)) for axis in (1, 0))
    )
    inside = (vessels & fov)[box]
    kept = without_specks(inside, min_size)
    area, whole_area = (int(np.count_nonzero(mask)) for mask in (kept, inside))
    graph, segments = measured_segments(kept, diameter)
    length = sum(one.length for one in segments)
    widths = np.array([one.width for one in segments])
    mean_width = area / length if length else math.nan
    tortuosity, curvature = _bends(
        [one for one in segments if _LONG * mean_width < one.length < _OPEN * one.chord]
    )
    boxes = box_count(graph.skeleton)
    return VesselMeasures(
        density=area / int(np.count_nonzero(fov)),
        length=length,
        mean_width=mean_width,
        median_width=float(np.nanmedian(widths)) if np.isfinite(widths).any() else math.nan,
        segments=len(segments),
        branch_points=graph.branch_points,
        end_points=graph.end_points,
        tortuosity=tortuosity,
        curvature=curvature,
        fractal_dimension=boxes.dimension,
        fractal_r2=boxes.r2,
        fractal_sizes=boxes.sizes,
        fov_diameter=diameter,
        fov_share=float(fov.mean()),
        speck_share=1 - area / whole_area if whole_area else 0.0,
    )


def _bends(segments: list[MeasuredSegment]) -> tuple[float, float]:
    """The mean tortuosity and curvature of these segments, weighted by their lengths."""
    if not segments:
        return math.nan, math.nan
    lengths = np.array([one.length for one in segments])
    ratios = lengths / [one.chord for one in segments]
    curvature = np.average([one.curve.curvature for one in segments], weights=lengths)
    return float(np.average(ratios, weights=lengths)), float(curvature)
