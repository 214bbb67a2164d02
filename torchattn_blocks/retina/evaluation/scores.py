"""Scores of probability maps or vessel masks, pooled over images or per image."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._check import plain
from .confusion import Confusion
from .connectivity import VesselMask
from .counts import Counts, Pool

Arrays = Sequence[NDArray[Any]]  # one of shape (H, W) for each image


class Spread(NamedTuple):
    """Mean and sample standard deviation of a score over images; NaN where it is undefined.

    Attributes:
        mean: The mean of the images on which the score is defined.
        std: Their sample standard deviation.

    Example:
        >>> from torchattn_blocks.retina import Spread
        >>> Spread(mean=0.75, std=0.05).mean
        0.75
    """

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Mean and standard deviation of the values that are not NaN."""
        defined = [value for value in values if not math.isnan(value)]
        return cls(
            fmean(defined) if defined else math.nan,
            stdev(defined) if len(defined) > 1 else math.nan,
        )


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
        Sensitivity ``SEN``, specificity ``SPE``, ``F1`` (Dice), accuracy ``ACC``, the area under
        the ROC curve ``AUC``, average precision ``AP``, and Matthews correlation coefficient
        ``MCC``. The areas are exact, except to about 1e-6 if there are more than eight million
        different probabilities. An undefined score is NaN: sensitivity without any vessel, for
        example, or an area if all probabilities are 0 or 1.

    Raises:
        TypeError: If an entry of `labels` or `masks` is not of type bool, or an entry of
            `probabilities` is not an array of real numbers.
        ValueError: If there are no images, shapes differ, or a probability lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import pooled_scores
        >>> probability = np.array([[0.9, 0.6], [0.4, 0.1]])
        >>> scores = pooled_scores([probability], [np.array([[True, False], [True, False]])])
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'SEN': 0.5, 'SPE': 0.5, 'F1': 0.5, 'ACC': 0.5, 'AUC': 0.75, 'AP': 0.833, 'MCC': 0.0}
    """
    check_scored("pooled_scores", probabilities, labels, masks)
    threshold = plain(threshold)  # compared in the precision of the map, even for a NumPy number
    pool, confusion = Pool(), Confusion(0, 0, 0, 0)
    for score, truth in scored_pixels(probabilities, labels, masks):
        pool.add(Counts.of(score, truth))
        confusion = confusion.plus(Confusion.of(score > threshold, truth))
    if sum(confusion) == 0:
        raise ValueError("pooled_scores: masks must leave a pixel to score, got none")
    return confusion.scores(pool.total().areas())


def image_scores(
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> dict[str, dict[str, float]]:
    """Score each image by itself: mean and sample standard deviation over images.

    Args:
        probabilities: A probability map for each image, see `pooled_scores`.
        labels: A vessel mask for each image.
        threshold: A pixel above it counts as vessel.
        masks: The pixels to score; by default all.

    Returns:
        ``{score: {"mean": ..., "std": ...}}`` for the scores of `pooled_scores` and for `cl_dice`.
        If a score is undefined on an image, the image does not count for it.

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
    threshold = plain(threshold)
    rows = []
    for i, (probability, label) in enumerate(zip(probabilities, labels, strict=True)):
        mask = np.ones(label.shape, bool) if masks is None else masks[i]
        if not mask.any():
            raise ValueError(
                f"image_scores: masks must leave a pixel to score, got none in entry {i}"
            )
        vessels, truth = VesselMask((probability > threshold) & mask), VesselMask(label & mask)
        areas = Counts.of(probability[mask], label[mask]).areas()
        confusion = Confusion.of(vessels.pixels, truth.pixels, int(np.count_nonzero(mask)))
        rows.append(confusion.scores(areas) | {"clDice": vessels.cl_dice(truth)})
    return {name: spread._asdict() for name, spread in spreads(rows).items()}


def spreads(rows: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and standard deviation of each score over images."""
    return {name: Spread.of([row[name] for row in rows]) for name in rows[0]}


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
    for i, arrays in enumerate(zip(probabilities, labels, masks, strict=True)):
        check_entry(owner, i, *arrays, scored=scored)


def check_entry(
    owner: str,
    i: int,
    probability: NDArray[Any],
    label: NDArray[Any],
    mask: NDArray[Any],
    *,
    scored: str = "probabilities",
) -> None:
    """Raise an error unless the image in this entry can be scored."""
    for name, array in {scored: probability, "labels": label, "masks": mask}.items():
        check_array(owner, name, array)
    check_values(owner, scored, probability, f"in entry {i}")
    binary = (label, mask)
    if any(array.dtype != np.bool_ for array in binary):
        raise TypeError(
            f"{owner}: labels and masks must be of type bool, got "
            f"{[str(array.dtype) for array in binary]}"
        )
    shapes = [array.shape for array in (probability, *binary)]
    if len(set(shapes)) > 1 or probability.ndim != 2:
        raise ValueError(
            f"{owner}: {scored}, labels and masks must have one shape (H, W) for each "
            f"image, got {shapes} in entry {i}. Pass a list of arrays, also for one image."
        )


def check_values(owner: str, name: str, values: NDArray[Any], where: str) -> None:
    """Raise an error unless this is an array of real numbers from 0 to 1."""
    check_array(owner, name, values)
    if values.dtype.kind not in "buif":
        raise TypeError(f"{owner}: {name} must be of a real type, got {values.dtype} {where}")
    if not ((values >= 0) & (values <= 1)).all():  # false for NaN too
        raise ValueError(
            f"{owner}: {name} must lie in [0, 1], got values from {values.min()} to "
            f"{values.max()} {where}"
        )


def check_array(owner: str, name: str, array: object) -> None:
    """Raise an error unless this is an array of NumPy."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{owner}: {name} must be NumPy arrays, got {type(array).__name__}")


def pooled_counts(probabilities: Arrays, labels: Arrays, masks: Arrays | None) -> Counts:
    """The scored pixels of all images, by their probability."""
    pool = Pool()
    for score, truth in scored_pixels(probabilities, labels, masks):
        pool.add(Counts.of(score, truth))
    return pool.total()


def scored_pixels(
    probabilities: Arrays, labels: Arrays, masks: Arrays | None
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """For each image, the values and labels of the pixels to score."""
    for i, (probability, label) in enumerate(zip(probabilities, labels, strict=True)):
        mask = ... if masks is None else masks[i]
        yield probability[mask].ravel(), label[mask].ravel()
