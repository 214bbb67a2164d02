"""Rays through a vessel mask: how wide a vessel is, and how far it goes on beyond its skeleton."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from .curves import Curve
from .skeleton import Points

_STEP = 0.1  # of a ray, in pixels


def ray_lengths(
    vessels: NDArray[np.bool_], starts: Points, directions: Points, reach: float
) -> NDArray[np.float64]:
    """How long rays are inside the vessels, in pixels.

    Between the middles of pixels the mask is interpolated bilinearly, and the values along the ray
    are summed up, until they fall to 0, or below a half and then rise again. The grid does not bias
    the mean over rays in all positions.

    Args:
        vessels: The vessel mask, shape (H, W).
        starts: Where rays start, inside a vessel, shape (n, 2): rows and columns.
        directions: Unit vectors, shape (n, 2).
        reach: The largest length to look for.
    """
    offsets = np.arange(_STEP / 2, reach, _STEP)
    places = starts[:, None] + offsets[:, None] * directions[:, None]  # (n, offsets, 2)
    values = map_coordinates(
        vessels, places.reshape(-1, 2).T, output=np.float64, order=1, mode="grid-constant"
    ).reshape(len(starts), -1)
    # A start may lie a little beside a vessel of one pixel.
    outside = np.logical_or.accumulate((values < 0.5) & (offsets > 1), axis=1)
    rises = np.diff(values, axis=1, prepend=values[:, :1]) > 1e-9
    ended = np.logical_or.accumulate(outside & (rises | (values <= 0)), axis=1)
    return np.where(ended, 0, values).sum(1) * _STEP


def curve_width(
    vessels: NDArray[np.bool_], curve: Curve, without: tuple[float, float], reach: float
) -> float:
    """The mean width of the vessel along a curve, or NaN if nothing is left of the curve.

    Args:
        vessels: The vessel mask, shape (H, W).
        curve: Its centre line.
        without: How much of the curve to leave out at its two ends.
        reach: The largest half of a width to look for.
    """
    start, end = without
    kept = (curve.along >= start) & (curve.along <= curve.length - end)
    points = curve.points[kept][::4]
    across = curve.directions[kept][::4, ::-1] * (1, -1)
    if not len(points):
        return np.nan
    left, right = (ray_lengths(vessels, points, side, reach) for side in (across, -across))
    return float((left + right).mean())
