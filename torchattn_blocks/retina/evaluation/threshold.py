"""The choice of a threshold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .counts import THRESHOLDS, Counts, above
from .scores import Arrays, check_scored, pooled_counts


def best_threshold(
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> float:
    """Find the threshold with the highest pooled F1 among 0.01, 0.02, ..., 0.99.

    Pass training or validation images: a threshold chosen on the test images raises their scores
    unfairly.

    Args:
        probabilities: A probability map for each image, values between 0 and 1.
        labels: A vessel mask for each image, of the same shape.
        masks: The pixels to score, such as the field of view of each image; by default all.

    Returns:
        The threshold: pixels above it count as vessel. If several are equally good, the one closest
        to 0.5, and the lower of two equally close ones.

    Raises:
        TypeError: If an entry of `labels` or `masks` is not of type bool.
        ValueError: If there are no images, shapes differ, a probability lies outside [0, 1], or no
            pixel to score is vessel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import best_threshold
        >>> best_threshold([np.array([[0.1, 0.32, 0.4]])], [np.array([[False, False, True]])])
        0.39
    """
    check_scored("best_threshold", probabilities, labels, masks)
    return best_threshold_of("best_threshold", pooled_counts(probabilities, labels, masks))


def best_threshold_of(owner: str, counts: Counts) -> float:
    """The same from counts of pixels."""
    if not counts.vessel.any():
        raise ValueError(f"{owner}: labels must hold a vessel pixel (inside the masks), got 0")
    many = len(counts.values) - above(counts, THRESHOLDS)  # values above each threshold
    true, false = (found[many] for found in counts.found())
    f1 = 2 * true / (true + false + counts.vessel.sum())  # 2 tp / (2 tp + fp + fn)
    best = np.flatnonzero(f1 == f1.max()) + 1
    return int(min(best, key=lambda percent: abs(percent - 50))) / 100
