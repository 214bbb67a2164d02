"""Figures of scores and losses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ..colours import BLUE, GREY, ORANGE
from ..training.checkpoint import LogEntry
from .scores import Arrays, check_scored, pooled_pixels, pooled_scores

_POINTS = 2000  # of a drawn curve: more than the figure has pixels


def save_score_curves(
    path: str | Path,
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    seconds: Sequence[NDArray[np.bool_]] | None = None,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> None:
    """Save the ROC and precision-recall curves, all pixels of all images pooled.

    The areas are those of `pooled_scores`. A point on each curve marks the threshold 0.5. The
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
    scores = pooled_scores(probabilities, labels, masks=masks)
    if np.isnan(scores["AUC"]):
        raise ValueError(
            "save_score_curves: labels must hold vessel and background pixels, and probabilities "
            "at least one value between 0 and 1"
        )
    probability, truth = (pooled_pixels(maps, masks).numpy() for maps in (probabilities, labels))
    curve = _curve(probability, truth)
    points = [("threshold 0.5", "o", BLUE, _point(probability > 0.5, truth))]
    if seconds is not None:
        if other := [str(second.dtype) for second in seconds if second.dtype != np.bool_]:
            raise TypeError(f"save_score_curves: seconds must be of type bool, got {other}")
        check_scored("save_score_curves", seconds, labels, masks, scored="seconds")
        second = pooled_pixels(seconds, masks).numpy()
        points.append(("second observer", "D", ORANGE, _point(second, truth)))
    figure = Figure(figsize=(10, 5.2), layout="constrained", dpi=150)
    roc, recall = figure.subplots(1, 2)
    roc.set(title="ROC", xlabel="false positive rate (1 − specificity)", ylabel="sensitivity")
    recall.set(title="Precision and recall", xlabel="recall (sensitivity)", ylabel="precision")
    # A curve or point has three rows: false positive rate, sensitivity, precision. A panel shows
    # two of them.
    for axes, area, two, corner in (
        (roc, "AUC", slice(0, 2), "lower right"),
        (recall, "AP", slice(1, 3), "lower left"),
    ):
        axes.plot(*curve[two], color=BLUE, label=f"network, {area} {scores[area]:.4f}")
        for label, marker, colour, point in points:
            axes.plot(*point[two], marker, color=colour, markeredgecolor="black", label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(color=GREY, linewidth=0.5)
        axes.legend(loc=corner)
    figure.savefig(path)


def save_training_curves(path: str | Path, log: Sequence[LogEntry]) -> None:
    """Save a figure of the losses by step, with the lowest validation loss marked.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        log: The result of `train`.

    Raises:
        ValueError: If `log` is empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import LogEntry
        >>> from torchattn_blocks.retina import save_training_curves
        >>> log = [LogEntry(1, 0.3, 0.35), LogEntry(2, 0.2, 0.25), LogEntry(3, 0.1, 0.28)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "losses.png")
        ...     save_training_curves(path, log)
        ...     path.is_file()
        True
    """
    if not log:
        raise ValueError("save_training_curves: log must hold at least 1 entry, got 0")
    steps, training, validation = zip(*log, strict=True)
    best = min(log, key=lambda entry: entry.validation_loss)
    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.plot(steps, training, ".-", color=BLUE, markersize=3, label="training")
    axes.plot(steps, validation, ".-", color=ORANGE, markersize=3, label="validation")
    axes.plot(
        best.step,
        best.validation_loss,
        "o",
        color=ORANGE,
        markeredgecolor="black",
        label=f"lowest: {best.validation_loss:.4g}, step {best.step}",
    )
    axes.set(xlabel="step", ylabel="loss", yscale="log", xlim=(0, steps[-1] * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Losses rarely span a power of ten: ticks between them, without exponents.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=GREY, linewidth=0.5)
    axes.legend()
    figure.savefig(path)


def _curve(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rates at every threshold, thinned to at most 2000 points: shape (3, points)."""
    order = np.argsort(probability)[::-1]
    # Pixels of equal probability become vessel at the same threshold.
    last = np.flatnonzero(np.diff(probability[order], append=-1))
    true = np.cumsum(truth[order])[last]
    rates = _rates(np.append(0, true), np.append(0, last + 1 - true), truth)
    # Evenly along the ROC curve: at even thresholds, most points would lie in one corner.
    way = rates[0] + rates[1]
    return rates[:, np.unique(np.searchsorted(way, np.linspace(0, 2, _POINTS)))]


def _point(vessels: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rates of a vessel mask, shape (3,)."""
    return _rates((vessels & truth).sum(), (vessels & ~truth).sum(), truth)


def _rates(true: Any, false: Any, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """False positive rate, sensitivity and precision, from true and false positives.

    Without any positive, precision is 1: there the curve begins.
    """
    positives = truth.sum()
    found = true + false
    precision = np.where(found > 0, true / np.maximum(found, 1), 1)
    return np.stack([false / (truth.size - positives), true / positives, precision])
