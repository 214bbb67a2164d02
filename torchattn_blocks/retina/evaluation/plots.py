"""Pictures of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ..fundus import Fundus
from ..training.checkpoint import EpochLog
from .scores import Maps, check_maps, pooled_pixels, pooled_scores

# Told apart also by who does not tell red from green; Okabe & Ito's blue and orange.
_MARK = 86, 180, 233  # their sky blue: what a retina never shows
_ORANGE, _BLUE, _GREY = (0.90, 0.62, 0.0), (0.0, 0.45, 0.70), (0.8, 0.8, 0.8)
_FOUND, _FALSE, _MISSED = (1.0, 1.0, 1.0), _ORANGE, _BLUE
_POINTS = 2000  # of a drawn curve; finer than the dots it is drawn with


def error_map(
    probability: NDArray[np.floating], label: NDArray[np.bool_], threshold: float = 0.5
) -> NDArray[np.float64]:
    """Colour each pixel by what became of it, shape (H, W, 3).

    Vessel that was found is white, what was wrongly called vessel orange, missed vessel blue, and
    the rest black.

    Example:
        >>> import numpy as np
        >>> error_map(np.array([[0.9, 0.1]]), np.array([[True, False]]))[0].tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    vessel = probability > threshold
    colours = np.zeros((*label.shape, 3))
    colours[vessel & label] = _FOUND
    colours[vessel & ~label] = _FALSE
    colours[~vessel & label] = _MISSED
    return colours


def overlay(image: NDArray[np.uint8], vessels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image, shape (H, W, 3), with its vessels marked in blue.

    Example:
        >>> import numpy as np
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[True, False]]))[0].tolist()
        [[86, 180, 233], [0, 0, 0]]
    """
    return np.where(vessels[..., None], np.array(_MARK, np.uint8), image)


def save_sheet(
    path: str | Path,
    fundus: Fundus,
    probability: NDArray[np.floating],
    *,
    threshold: float = 0.5,
) -> None:
    """Write one picture: image and probability and, where there is a label, truth and errors.

    Args:
        path: Where to; the ending chooses the format, as in matplotlib.
        fundus: The image, of shape (H, W).
        probability: Its map, shape (H, W).
        threshold: A pixel above it is taken for vessel.

    Raises:
        ValueError: If the map has another shape than the image.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import save_sheet, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sheet(Path(folder, "sheet.png"), fundus, fundus.label.astype(float))
        ...     [path.name for path in Path(folder).iterdir()]
        ['sheet.png']
    """
    if probability.shape != fundus.fov.shape:
        raise ValueError(
            f"save_sheet: probability must have the image's shape {fundus.fov.shape}, "
            f"got {probability.shape}"
        )
    panels: dict[str, NDArray[Any]] = {
        f"image {fundus.name}": fundus.image,
        "probability": probability,
    }
    if fundus.label is not None:
        panels["first observer"] = fundus.label
        panels["errors"] = error_map(probability, fundus.label, threshold)
    # An inch of paper for each 100 pixels, and 100 dots an inch: a pixel is a dot.
    height, width = (side / 100 for side in fundus.fov.shape)
    figure = Figure(
        figsize=(len(panels) * (width + 0.2), height + 0.8), layout="constrained", dpi=100
    )
    for axes, (title, panel) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    if fundus.label is not None:
        colours = {"found": _FOUND, "false": _FALSE, "missed": _MISSED}
        patches = [Patch(facecolor=c, edgecolor="black", label=k) for k, c in colours.items()]
        figure.legend(handles=patches, loc="outside lower right", ncols=3, fontsize="small")
    figure.savefig(path)


def save_score_curves(
    path: str | Path,
    probabilities: Maps,
    labels: Sequence[NDArray[np.bool_]],
    *,
    seconds: Sequence[NDArray[np.bool_]] | None = None,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> None:
    """Draw the ROC and precision-recall curves of all pixels of all images together.

    The areas are those of `pooled_scores`. On each curve the threshold .5 is a point; the second
    observer, who has no curve, is a point beside it.

    Args:
        path: Where to; the ending chooses the format, as in matplotlib.
        probabilities: A map for each image, values between 0 and 1.
        labels: What is true, a map for each image of the same shape.
        seconds: The second observer's masks, where there are any.
        masks: Where to look, such as fields of view; by default everywhere.

    Raises:
        TypeError: If a label, a mask or a second observer's mask is not of type bool.
        ValueError: If there are no images, shapes differ, a value lies outside [0, 1], labels
            hold only vessel or only background, or probabilities only 0 and 1.

    Example:
        >>> import tempfile
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
            "save_score_curves: labels must hold vessel and background, and probabilities more "
            "than 0 and 1: there is no curve otherwise"
        )
    probability, truth = (pooled_pixels(maps, masks).numpy() for maps in (probabilities, labels))
    curve = _curve(probability, truth)
    points = [("threshold 0.5", "o", _BLUE, _point(probability > 0.5, truth))]
    if seconds is not None:
        check_maps(labels, seconds, masks)
        second = pooled_pixels(seconds, masks).numpy()
        points.append(("second observer", "D", _ORANGE, _point(second, truth)))
    figure = Figure(figsize=(10, 5.2), layout="constrained", dpi=150)
    roc, recall = figure.subplots(1, 2)
    roc.set(title="ROC", xlabel="false positive rate (1 − specificity)", ylabel="sensitivity")
    recall.set(title="Precision and recall", xlabel="recall (sensitivity)", ylabel="precision")
    # A curve and a point are false positive rate, sensitivity and precision: two for each panel.
    for axes, area, two, corner in (
        (roc, "AUC", slice(0, 2), "lower right"),
        (recall, "AP", slice(1, 3), "lower left"),
    ):
        axes.plot(*curve[two], color=_BLUE, label=f"network, {area} {scores[area]:.4f}")
        for label, marker, colour, point in points:
            axes.plot(*point[two], marker, color=colour, markeredgecolor="black", label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(color=_GREY, linewidth=0.5)
        axes.legend(loc=corner)
    figure.savefig(path)


def save_training_curves(path: str | Path, log: Sequence[EpochLog]) -> None:
    """Draw the losses of a training by epoch, and mark the epoch with the least validation loss.

    Args:
        path: Where to; the ending chooses the format, as in matplotlib.
        log: What `train` returned.

    Raises:
        ValueError: If there is no epoch.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import EpochLog
        >>> from torchattn_blocks.retina import save_training_curves
        >>> log = [EpochLog(1, 0.3, 0.35), EpochLog(2, 0.2, 0.25), EpochLog(3, 0.1, 0.28)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "losses.png")
        ...     save_training_curves(path, log)
        ...     path.is_file()
        True
    """
    if not log:
        raise ValueError("save_training_curves: log must hold at least 1 epoch, got 0")
    epochs, training, validation = zip(*log, strict=True)
    best = min(log, key=lambda entry: entry.validation_loss)
    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.plot(epochs, training, ".-", color=_BLUE, markersize=3, label="training")
    axes.plot(epochs, validation, ".-", color=_ORANGE, markersize=3, label="validation")
    axes.plot(
        best.epoch,
        best.validation_loss,
        "o",
        color=_ORANGE,
        markeredgecolor="black",
        label=f"least: {best.validation_loss:.4g}, epoch {best.epoch}",
    )
    axes.set(xlabel="epoch", ylabel="loss", yscale="log", xlim=(0, epochs[-1] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Losses seldom span a decade: more ticks than its powers of ten, and written plainly.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_GREY, linewidth=0.5)
    axes.legend()
    figure.savefig(path)


def _curve(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rates at every threshold, thinned to what a drawing shows: shape (3, at most 2000)."""
    order = np.argsort(probability)[::-1]
    # Pixels of equal probability become vessel together.
    last = np.flatnonzero(np.diff(probability[order], append=-1))
    true = np.cumsum(truth[order])[last]
    rates = _rates(np.append(0, true), np.append(0, last + 1 - true), truth)
    # Evenly along the ROC curve: thinned by threshold, most points would lie in its corner.
    way = rates[0] + rates[1]
    return rates[:, np.unique(np.searchsorted(way, np.linspace(0, 2, _POINTS)))]


def _point(vessels: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rates of a vessel mask, shape (3,)."""
    return _rates((vessels & truth).sum(), (vessels & ~truth).sum(), truth)


def _rates(true: Any, false: Any, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """False positive rate, sensitivity and precision from counts of what is called vessel.

    Where nothing is, precision is 1: that is where the curve begins.
    """
    positives = truth.sum()
    found = true + false
    precision = np.where(found > 0, true / np.maximum(found, 1), 1)
    return np.stack([false / (truth.size - positives), true / positives, precision])
