"""The threshold that vessels are cut at, chosen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .scores import Maps, check_maps, pooled_pixels


def best_threshold(
    probabilities: Maps,
    labels: Sequence[NDArray[np.bool_]],
    *,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> float:
    """Choose the threshold with the highest pooled F1 among .01, .02 and so on to .99.

    Choose on images for training or validation: a threshold chosen on the test images
    flatters their scores.

    Args:
        probabilities: A map for each image, values between 0 and 1.
        labels: What is true, a map for each image of the same shape.
        masks: Where to look, such as fields of view; by default everywhere.

    Returns:
        The threshold, to be used as in `pooled_scores`: a pixel above it is taken for vessel. Of
        equally good ones, it is the one nearest .5, and of two equally near, the lower.

    Raises:
        TypeError: If a label or a mask is not of type bool.
        ValueError: If there are no images, shapes differ, a value lies outside [0, 1], or no
            pixel that counts is vessel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import best_threshold
        >>> best_threshold([np.array([[0.1, 0.32, 0.4]])], [np.array([[False, False, True]])])
        0.39
    """
    check_maps(probabilities, labels, masks)
    score, truth = (pooled_pixels(maps, masks).numpy() for maps in (probabilities, labels))
    if not truth.any():
        raise ValueError(
            "best_threshold: labels must hold a vessel pixel (inside the masks), got 0"
        )
    # In the maps' own precision, as `>` compares them with a threshold: float32's .3 is not above.
    grid = (np.arange(1, 100) / 100).astype(np.result_type(score, np.float16))
    passed = np.searchsorted(grid, score)  # how many thresholds a pixel is above
    # Above each threshold: pixels, and pixels of vessel.
    found, true = (
        np.bincount(counts, minlength=100)[:0:-1].cumsum()[::-1]
        for counts in (passed, passed[truth])
    )
    f1 = 2 * true / (found + truth.sum())  # 2 tp / (2 tp + fp + fn)
    best = np.flatnonzero(f1 == f1.max()) + 1
    return int(min(best, key=lambda percent: abs(percent - 50))) / 100
