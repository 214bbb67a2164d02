"""The centre line of a segment as a smooth curve."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, splprep

from .skeleton import Points

_STEP = 0.25  # between the points at which a curve is measured, in pixels


@dataclass(frozen=True, eq=False)
class Curve:
    """A smoothing spline through the pixels of a centre line (Dierckx 1982, by SciPy).

    Attributes:
        points: Points along the curve, shape (n, 2).
        directions: Unit vectors along it, shape (n, 2).
        along: Distance of each point from the first, along the curve.
        curvatures: Change of the direction in radians per pixel, shape (n,); its sign says whether
            the curve turns left or right.
    """

    points: Points
    directions: Points
    along: NDArray[np.float64]
    curvatures: NDArray[np.float64]

    @property
    def length(self) -> float:
        """The length of the curve in pixels."""
        return float(self.along[-1])

    @property
    def curvature(self) -> float:
        """The mean of the absolute curvature along the curve, in radians per pixel."""
        return float(np.trapezoid(np.abs(self.curvatures), self.along) / self.length)


def smooth_curve(path: Points, deviation: float, *, is_ring: bool = False) -> Curve:
    """A smooth curve along points that lie beside it.

    Args:
        path: The points, shape (n, 2): 2 or more, no two in succession the same.
        deviation: How far they are from the curve, root mean square.
        is_ring: Whether the curve ends where it starts.
    """
    steps = np.hypot(*np.diff(path, axis=0).T)
    at = np.concatenate([[0.0], steps.cumsum()])
    with warnings.catch_warnings():
        # For a path of few pixels, no spline has exactly this distance.
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        # make_splprep takes minutes for large images.
        degree, smoothing = min(3, len(path) - 1), deviation**2 * len(path)
        (knots, coefficients, _), _ = splprep(path.T, u=at, k=degree, s=smoothing, per=is_ring)
    spline = BSpline(knots, np.transpose(coefficients), degree)
    t = np.linspace(0, at[-1], max(int(np.ceil(at[-1] / _STEP)), 2) + 1)
    points, first, second = (spline(t, derivative) for derivative in range(3))
    speed = np.hypot(*first.T)
    turning = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    pieces = np.hypot(*np.diff(points, axis=0).T)
    return Curve(
        points,
        first / speed[:, None],
        np.concatenate([[0.0], pieces.cumsum()]),
        turning / speed**3,
    )
