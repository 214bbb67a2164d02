"""Scores of probability maps or vessel masks, pooled over images or per image."""

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

Arrays = Sequence[NDArray[Any]]  # one of shape (H, W) for each image


def pooled_scores(
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> dict[str, float]:
    """Score all pixels of all images together, as the paper does.

    Args:
        probabilities: A probability map for each image, values between 0 and 1; or vessel masks,
            such as the second observer's.
        labels: A vessel mask for each image, of the same shape.
        threshold: A pixel above it counts as vessel.
        masks: The pixels to score, such as the field of view of each image; by default all.

    Returns:
        Sensitivity ``SEN``, specificity ``SPE``, ``F1`` (Dice), accuracy ``ACC``, the exact area
        under the ROC curve ``AUC``, average precision ``AP``, and Matthews correlation coefficient
        ``MCC``. An undefined score is NaN: sensitivity without any vessel, for example, or an area
        if all probabilities are 0 or 1.

    Raises:
        TypeError: If an entry of `labels` or `masks` is not of type bool.
        ValueError: If there are no images, shapes differ, or a probability lies outside [0, 1].

    Note:
        Torchmetrics, in contrast, reports 0 for undefined scores, and an area for zeros and ones.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import pooled_scores
        >>> probability = np.array([[0.9, 0.6], [0.4, 0.1]])
        >>> scores = pooled_scores([probability], [np.array([[True, False], [True, False]])])
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'SEN': 0.5, 'SPE': 0.5, 'F1': 0.5, 'ACC': 0.5, 'AUC': 0.75, 'AP': 0.833, 'MCC': 0.0}
    """
    check_scored("pooled_scores", probabilities, labels, masks)
    score, truth = pooled_pixels(probabilities, masks), pooled_pixels(labels, masks)
    if score.numel() == 0:
        raise ValueError("pooled_scores: masks must leave a pixel to score, got none")
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
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> dict[str, dict[str, float]]:
    """Score each image alone: mean and sample standard deviation over images.

    Args:
        probabilities: A probability map for each image, see `pooled_scores`.
        labels: A vessel mask for each image.
        threshold: A pixel above it counts as vessel.
        masks: The pixels to score; by default all.

    Returns:
        ``{score: {"mean": ..., "std": ...}}`` for the scores of `pooled_scores` and for `cl_dice`.
        Images on which a score is undefined do not count for it.

    Raises:
        TypeError: If an entry of `labels` or `masks` is not of type bool.
        ValueError: If there are no images, shapes differ, or a probability lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import image_scores
        >>> maps = [np.array([[0.9, 0.2]]), np.array([[0.9, 0.7]])]
        >>> image_scores(maps, [np.array([[True, False]])] * 2)["ACC"]
        {'mean': 0.75, 'std': 0.3535533905932738}
    """
    check_scored("image_scores", probabilities, labels, masks)
    rows = []
    for i, (probability, label) in enumerate(zip(probabilities, labels, strict=True)):
        mask = None if masks is None else masks[i]
        row = pooled_scores(
            [probability], [label], threshold=threshold, masks=None if mask is None else [mask]
        )
        inside = np.ones(label.shape, bool) if mask is None else mask
        row["clDice"] = cl_dice((probability > threshold) & inside, label & inside)
        rows.append(row)
    return {name: mean_and_std([row[name] for row in rows]) for name in rows[0]}


def check_scored(
    owner: str,
    probabilities: Arrays,
    labels: Arrays,
    masks: Arrays | None,
    *,
    scored: str = "probabilities",
) -> None:
    """Raise an error unless these can be scored, see `pooled_scores`."""
    masks = labels if masks is None else masks
    counts = [len(probabilities), len(labels), len(masks)]
    if len(set(counts)) > 1 or counts[0] == 0:
        raise ValueError(
            f"{owner}: {scored}, labels and masks must have one entry per image, at least 1; "
            f"got {counts[0]} {scored}, {counts[1]} labels, {counts[2]} masks"
        )
    given = {scored: probabilities, "labels": labels, "masks": masks}
    for name, arrays in given.items():
        for array in arrays:
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{owner}: {name} must be NumPy arrays, got {type(array).__name__}")
    for i, (probability, *binary) in enumerate(zip(probabilities, labels, masks, strict=True)):
        if any(array.dtype != np.bool_ for array in binary):
            raise TypeError(
                f"{owner}: labels and masks must be of type bool, got "
                f"{[str(array.dtype) for array in binary]}"
            )
        if not ((probability >= 0) & (probability <= 1)).all():  # false for NaN too
            raise ValueError(
                f"{owner}: {scored} must lie in [0, 1], got values from {probability.min()} "
                f"to {probability.max()} in entry {i}"
            )
        shapes = [array.shape for array in (probability, *binary)]
        if len(set(shapes)) > 1 or probability.ndim != 2:
            raise ValueError(
                f"{owner}: {scored}, labels and masks must have one shape (H, W) for each "
                f"image, got {shapes} in entry {i}. Pass a list of arrays, also for one image."
            )


def pooled_pixels(arrays: Arrays, masks: Arrays | None) -> torch.Tensor:
    """The pixels of all images that are scored."""
    pixels = [array.ravel() if masks is None else array[masks[i]] for i, array in enumerate(arrays)]
    return torch.from_numpy(np.concatenate(pixels))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation of the values that are not NaN."""
    defined = [value for value in values if not math.isnan(value)]
    return {
        "mean": fmean(defined) if defined else math.nan,
        "std": stdev(defined) if len(defined) > 1 else math.nan,
    }
