"""Scores of vessel masks against an observer's, pooled over images or one by one."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_stat_scores,
)

from .connectivity import cl_dice

Maps = Sequence[NDArray[Any]]


def pooled_scores(
    probabilities: Maps,
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> dict[str, float]:
    """Score all pixels of all images together, as the paper does.

    Args:
        probabilities: A map for each image, values between 0 and 1. A second observer's zeros
            and ones are scored likewise.
        labels: What is true, a map for each image of the same shape.
        threshold: A pixel above it is taken for vessel.
        masks: Where to look, such as fields of view; by default everywhere.

    Returns:
        Sensitivity ``SEN``, specificity ``SPE``, ``F1`` (Dice), accuracy ``ACC``, the exact areas
        under the ROC curve ``AUC`` and, as average precision, under the precision-recall curve
        ``AP``, and Matthews' correlation ``MCC``. A score that the labels leave undefined
        (sensitivity without any vessel, say) is NaN, and so are the areas of a map of zeros and
        ones, which has no curve.

    Raises:
        TypeError: If a label or a mask is not of type bool.
        ValueError: If there are no images, shapes differ, or a value lies outside [0, 1].

    Note:
        Torchmetrics reports 0 where a score is undefined, and an area for zeros and ones.

    Example:
        >>> import numpy as np
        >>> probability = np.array([[0.9, 0.6], [0.4, 0.1]])
        >>> scores = pooled_scores([probability], [np.array([[True, False], [True, False]])])
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'SEN': 0.5, 'SPE': 0.5, 'F1': 0.5, 'ACC': 0.5, 'AUC': 0.75, 'AP': 0.833, 'MCC': 0.0}
    """
    check_maps(probabilities, labels, masks)
    score, truth = pooled_pixels(probabilities, masks), pooled_pixels(labels, masks)
    if score.numel() == 0:
        raise ValueError("scores: there is no pixel to score: maps or masks are empty")
    tp, fp, tn, fn, _ = binary_stat_scores(score > threshold, truth).tolist()
    is_curve = bool(((score > 0) & (score < 1)).any()) and tp + fn > 0 and tn + fp > 0
    return {
        "SEN": _ratio(tp, tp + fn),
        "SPE": _ratio(tn, tn + fp),
        "F1": _ratio(2 * tp, 2 * tp + fp + fn),
        "ACC": _ratio(tp + tn, tp + fp + tn + fn),
        "AUC": float(binary_auroc(score, truth)) if is_curve else math.nan,
        "AP": float(binary_average_precision(score, truth.long())) if is_curve else math.nan,
        "MCC": _ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
    }


def image_scores(
    probabilities: Maps,
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> dict[str, dict[str, float]]:
    """Score each image by itself: mean and sample standard deviation of every score.

    The arguments and the errors are those of `pooled_scores`.

    Returns:
        ``{score: {"mean": ..., "std": ...}}`` for the scores of `pooled_scores` and `cl_dice`.
        An image that leaves a score undefined is left out of it.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import image_scores
        >>> maps = [np.array([[0.9, 0.2]]), np.array([[0.9, 0.7]])]
        >>> image_scores(maps, [np.array([[True, False]])] * 2)["ACC"]
        {'mean': 0.75, 'std': 0.3535533905932738}
    """
    check_maps(probabilities, labels, masks)
    rows = []
    for i, (probability, label) in enumerate(zip(probabilities, labels, strict=True)):
        mask = None if masks is None else masks[i]
        row = pooled_scores(
            [probability], [label], threshold=threshold, masks=None if mask is None else [mask]
        )
        inside = np.ones(label.shape, bool) if mask is None else mask
        row["clDice"] = cl_dice((probability > threshold) & inside, label & inside)
        rows.append(row)
    return {name: spread([row[name] for row in rows]) for name in rows[0]}


def check_maps(probabilities: Maps, labels: Maps, masks: Maps | None) -> None:
    """Raise an error unless these can be scored, as `pooled_scores` says."""
    masks = labels if masks is None else masks
    counts = [len(probabilities), len(labels), len(masks)]
    if len(set(counts)) > 1 or counts[0] == 0:
        raise ValueError(
            f"scores: there must be a label, and a mask where any is given, for each map, and one "
            f"map at least; got {counts[0]} maps, {counts[1]} labels, {counts[2]} masks"
        )
    for i, (probability, *maps) in enumerate(zip(probabilities, labels, masks, strict=True)):
        if any(m.dtype != np.bool_ for m in maps):
            raise TypeError(
                f"scores: labels and masks must be of type bool, got {[str(m.dtype) for m in maps]}"
            )
        if not ((probability >= 0) & (probability <= 1)).all():  # false for NaN too
            raise ValueError(
                f"scores: probabilities must lie in [0, 1], map {i} does not: "
                f"from {probability.min()} to {probability.max()}"
            )
        shapes = [m.shape for m in (probability, *maps)]
        if len(set(shapes)) > 1:
            raise ValueError(f"scores: shapes of map, label and mask {i} differ: {shapes}")


def pooled_pixels(maps: Maps, masks: Maps | None) -> torch.Tensor:
    """All pixels, of all maps, that count."""
    pixels = [m.ravel() if masks is None else m[masks[i]] for i, m in enumerate(maps)]
    return torch.from_numpy(np.concatenate(pixels))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation of those values that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return {
        "mean": fmean(defined) if defined else math.nan,
        "std": stdev(defined) if len(defined) > 1 else math.nan,
    }
