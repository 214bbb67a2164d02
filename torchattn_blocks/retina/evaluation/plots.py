"""The figure of ROC and precision-recall curves."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..colours import BLUE, GREY, ORANGE
from ..write import write_figure
from .confusion import Confusion
from .counts import Counts, above
from .scores import Arrays, check_scored, pooled_counts, scored_pixels

_POINTS = 2000  # points of a drawn curve: more than the figure has pixels
_MARKED = 0.5  # the threshold of the point on each curve


def save_score_curves(
    path: str | Path,
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    seconds: Sequence[NDArray[np.bool_]] | None = None,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> None:
    """Save the ROC and precision-recall curves, all pixels of all images pooled.

    The areas are the same as in `pooled_scores`. A point on each curve marks the threshold 0.5. The
    second observer's vessel masks give one point.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        probabilities: A probability map for each image, values between 0 and 1.
        labels: A vessel mask for each image, of the same shape.
        seconds: The second observer's vessel mask for each image, if there are any.
        masks: The pixels to score, such as the field of view of each image; by default all.

    Raises:
        TypeError: If an entry of `labels`, `seconds` or `masks` is not of type bool.
        ValueError: If there are no images, shapes differ, a probability lies outside [0, 1], all
            labels are vessel or all background, or all probabilities are 0 or 1.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import save_score_curves
        >>> fundus = synthesize(0, height=64, width=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "curves.png")
        ...     save_score_curves(path, [1 - fundus.image[..., 1] / 255], [fundus.label])
        ...     path.is_file()
        True
    """
    check_scored("save_score_curves", probabilities, labels, masks)
    counts = pooled_counts(probabilities, labels, masks)
    second = None
    if seconds is not None:
        if other := [str(mask.dtype) for mask in seconds if mask.dtype != np.bool_]:
            raise TypeError(f"save_score_curves: seconds must be of type bool, got {other}")
        check_scored("save_score_curves", seconds, labels, masks, scored="seconds")
        each = [Confusion.of(*pair) for pair in scored_pixels(seconds, labels, masks)]
        second = functools.reduce(Confusion.plus, each)
    if not counts.has_curve:
        raise ValueError(
            "save_score_curves: labels must hold vessel and background pixels (inside the masks), "
            "and probabilities at least one value between 0 and 1"
        )
    draw_score_curves(path, counts, second)


def draw_score_curves(path: str | Path, counts: Counts, second: Confusion | None) -> None:
    """The same from counts of pixels, and the second observer's confusion matrix."""
    true, false = counts.found()
    everything = int(true[-1]), int(false[-1])
    curve = _thinned(_rates(true, false, *everything))
    marked = len(counts.values) - above(counts, np.array([_MARKED]))
    points = [("threshold 0.5", "o", BLUE, _rates(true[marked], false[marked], *everything))]
    if second is not None:
        found = np.array([second.tp]), np.array([second.fp])
        points.append(("second observer", "D", ORANGE, _rates(*found, *everything)))
    auc, ap = counts.areas()
    figure = Figure(figsize=(10, 5.2), layout="constrained", dpi=150)
    roc, recall = figure.subplots(1, 2)
    roc.set(title="ROC", xlabel="false positive rate (1 − specificity)", ylabel="sensitivity")
    recall.set(title="Precision and recall", xlabel="recall (sensitivity)", ylabel="precision")
    # A curve or point has three rows: false positive rate, sensitivity, precision. A panel shows
    # two of them.
    for axes, area, two, corner in (
        (roc, f"AUC {auc:.4f}", slice(0, 2), "lower right"),
        (recall, f"AP {ap:.4f}", slice(1, 3), "lower left"),
    ):
        axes.plot(*curve[two], color=BLUE, label=f"network, {area}")
        for label, marker, colour, point in points:
            axes.plot(*point[two], marker, color=colour, markeredgecolor="black", label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(color=GREY, linewidth=0.5)
        axes.legend(loc=corner)
    write_figure(path, figure)


def _rates(
    true: NDArray[np.int64], false: NDArray[np.int64], positives: int, negatives: int
) -> NDArray[np.float64]:
    """False positive rate, sensitivity and precision at each threshold, shape (3, thresholds).

    Without any positive, precision is 1: the curve begins there.
    """
    found = true + false
    precision = np.where(found > 0, true / np.maximum(found, 1), 1)
    return np.stack([false / negatives, true / positives, precision])


def _thinned(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 2000 of the thresholds, evenly along the ROC curve.

    With evenly spaced thresholds, most points would lie in one corner.
    """
    way = rates[0] + rates[1]
    return rates[:, np.unique(np.searchsorted(way, np.linspace(0, 2, _POINTS)))]
