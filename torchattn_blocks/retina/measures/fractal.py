"""The box-counting dimension of a set of pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class BoxCount(NamedTuple):
    """A dimension, how well the line fits, and the smallest and the largest side of the boxes."""

    dimension: float
    r2: float
    sizes: tuple[int, int]


def box_count(pixels: NDArray[np.bool_]) -> BoxCount:
    """The slope of the logarithm of how many boxes hold a pixel, by that of the boxes' size.

    Boxes have sides of 2, 4, 8, ... pixels, up to an eighth of the longer side of the image, and
    start at its first pixel. The line is fitted by least squares. Dimension and fit are NaN if
    there are fewer than two sizes, or no pixel.

    Args:
        pixels: The set, shape (H, W).
    """
    sizes = 2 ** np.arange(1, max(int(np.log2(max(pixels.shape) / 8)), 1) + 1)
    counts = []
    for size in sizes:
        rows, columns = (-side % size for side in pixels.shape)
        filled = np.pad(pixels, ((0, rows), (0, columns)))
        boxes = filled.reshape(filled.shape[0] // size, size, -1, size)
        counts.append(np.count_nonzero(boxes.any(axis=(1, 3))))
    ends = (int(sizes[0]), int(sizes[-1]))
    if len(sizes) < 2 or not counts[0]:
        return BoxCount(np.nan, np.nan, ends)
    x, y = np.log2(sizes), np.log2(counts)
    slope, offset = np.polyfit(x, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    error = ((y - slope * x - offset) ** 2).sum()
    return BoxCount(float(0 - slope), float(1 - error / spread) if spread else 1.0, ends)
