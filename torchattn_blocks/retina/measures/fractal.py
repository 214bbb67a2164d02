"""The box-counting dimension of a set of pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LARGEST = 8  # the largest boxes have this part of the side of the image, in pixels 2 or more,
_SMALLEST = 256  # and the smallest this part or more
_TINY = 1e-9


class BoxCount(NamedTuple):
    """A dimension, how well the line fits, and the smallest and the largest side of the boxes."""

    dimension: float
    r2: float
    sizes: tuple[float, float]


def box_count(pixels: NDArray[np.bool_]) -> BoxCount:
    """The slope of log(number of boxes that hold a pixel) against log(size of the boxes).

    Boxes have sides of an eighth of the longer side of the image, a sixteenth, and so on, down to 2
    pixels or a 256th, whichever is more: so images of any number of pixels are counted in the same
    boxes. Boxes start at the middle of the image, to count the same in mirrored and turned images.
    The line is fitted by least squares. Dimension and fit are NaN if there are fewer than two
    sizes, or no pixel; only the fit is NaN if one box holds all.

    Args:
        pixels: The set, shape (H, W).
    """
    side = max(pixels.shape)
    steps = max(int(np.log2(min(side / 2, _SMALLEST) / _LARGEST)), 0) + 1
    sizes = side / _LARGEST / 2.0 ** np.arange(steps)
    ends = (float(sizes[-1]), float(sizes[0]))
    # If a pixel's middle lies between two boxes, it counts in the inner one.
    places = (np.argwhere(pixels) + 0.5 - np.array(pixels.shape) / 2) * (1 - _TINY)
    if steps < 2 or not len(places):
        return BoxCount(np.nan, np.nan, ends)
    counts = []
    for size in sizes:
        half = int(np.ceil(side / 2 / size))
        filled = np.zeros((2 * half, 2 * half), dtype=np.bool_)
        filled[tuple((np.floor(places / size) + half).astype(int).T)] = True
        counts.append(np.count_nonzero(filled))
    x, y = np.log2(sizes), np.log2(counts)
    x, y = x - x.mean(), y - y.mean()
    slope = (x @ y) / (x @ x)
    spread = y @ y
    r2 = 1 - ((y - slope * x) ** 2).sum() / spread if spread else np.nan
    return BoxCount(float(0 - slope), float(r2), ends)
