"""The choice of a threshold, and of the shift of an output bias that puts it at 0.5."""

import functools
import math
import sys
from collections.abc import Iterable, Sequence
from statistics import stdev
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .confusion import ratio
from .counts import THRESHOLDS, Counts, above
from .scores import Arrays, check_scored, pooled_counts

T = TypeVar("T")

_MOST = 10  # training images that help to choose a threshold: more take time, and add nothing
_PRIOR = 8  # images that the threshold F1/2 counts for, where others are shrunk towards it
# A shift is remarkable from here on: in logits, and in sensitivity.
_LARGE, _MOVED = 1.0, 0.05


def best_threshold(
    probabilities: Arrays,
    labels: Sequence[NDArray[np.bool_]],
    *,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> float:
    """Find the threshold with the highest pooled F1 among 0.01, 0.02, ..., 0.99.

    Pass training and validation images: a threshold chosen on the test images raises their scores
    unfairly. Two or three images are too few.

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
    sweep = Sweep.of(pooled_counts(probabilities, labels, masks))
    if not sweep.vessel:
        raise ValueError(
            "best_threshold: labels must hold a vessel pixel (inside the masks), got 0"
        )
    return sweep.best()


class Sweep(NamedTuple):
    """What is found at each threshold from 0.01 to 0.99.

    Attributes:
        true: Pixels of vessel above each threshold, shape (99,).
        false: Other pixels above it, shape (99,).
        vessel: All pixels of vessel.
    """

    true: NDArray[np.int64]
    false: NDArray[np.int64]
    vessel: int

    @classmethod
    def of(cls, counts: Counts) -> "Sweep":
        """From counts of pixels."""
        many = len(counts.values) - above(counts, THRESHOLDS)  # values above each threshold
        true, false = (found[many] for found in counts.found())
        return cls(true, false, int(counts.vessel.sum()))

    @classmethod
    def inside(
        cls, probability: NDArray[Any], label: NDArray[np.bool_], fov: NDArray[np.bool_]
    ) -> "Sweep":
        """Of a probability map within the field of view."""
        return cls.of(Counts.of(probability[fov], label[fov]))

    @classmethod
    def sum(cls, sweeps: Iterable["Sweep"]) -> "Sweep":
        """Of all images together."""
        return functools.reduce(cls.plus, sweeps)

    def plus(self, other: "Sweep") -> "Sweep":
        """Of both images together."""
        return Sweep(self.true + other.true, self.false + other.false, self.vessel + other.vessel)

    def f1(self) -> NDArray[np.float64]:
        """F1 at each threshold; there must be vessels."""
        f1: NDArray[np.float64] = 2 * self.true / (self.true + self.false + self.vessel)
        return f1

    def best(self) -> float:
        """The threshold with the highest F1; of several, the one closest to 0.5."""
        f1 = self.f1()
        best = np.flatnonzero(f1 == f1.max()) + 1
        return int(min(best, key=lambda percent: abs(percent - 50))) / 100

    def sensitivity(self, threshold: float) -> float:
        """The fraction of vessel pixels above a threshold of 0.01, 0.02 and so on."""
        return ratio(int(self.true[round(100 * threshold) - 1]), self.vessel)


class ThresholdChoice(NamedTuple):
    """A threshold that was chosen on several images, and how sure it is.

    Attributes:
        threshold: The threshold with the highest F1 of all pixels of the images together.
        shift: The shift of the output bias, in logits, that makes 0.5 this threshold.
        spread: Standard deviation, over images with vessels, of the shifts that would be best for
            each image alone; NaN if there are less than two.
        images: Number of images.
        sensitivity: Their sensitivity at this threshold.
        unshifted: Their sensitivity at the threshold 0.5.

    Example:
        >>> from torchattn_blocks.retina import ThresholdChoice
        >>> choice = ThresholdChoice(0.4, 0.405, 0.3, images=20, sensitivity=0.83, unshifted=0.8)
        >>> choice.remark() is None, choice._replace(unshifted=0.75).remark()[:33]
        (True, 'The shift of the output bias, +0.')
    """

    threshold: float
    shift: float
    spread: float
    images: int
    sensitivity: float
    unshifted: float

    @classmethod
    def of(cls, sweeps: Iterable[Sweep]) -> "ThresholdChoice":
        """Choose on images, of which one must have vessels."""
        each = list(sweeps)
        together = Sweep.sum(each)
        threshold = together.best()
        shifts = [shift_of(sweep.best()) for sweep in each if sweep.vessel]
        return cls(
            threshold,
            shift_of(threshold),
            stdev(shifts) if len(shifts) > 1 else math.nan,
            len(each),
            together.sensitivity(threshold),
            together.sensitivity(0.5),
        )

    def notes(self) -> dict[str, float | None]:
        """What a weights file says of it."""
        return {
            "bias_shift": self.shift,
            "bias_shift_spread": None if math.isnan(self.spread) else self.spread,
            "bias_shift_images": self.images,
        }

    def said(self) -> str:
        """One line on the shift and how much it differs between images."""
        each = "" if math.isnan(self.spread) else f", best for each alone: ± {self.spread:.2f}"
        return (
            f"Shift of the output bias {self.shift:+.2f} ({self.images} images{each}). Sensitivity "
            f"{self.unshifted:.3f} before, {self.sensitivity:.3f} now."
        )

    def remark(self) -> str | None:
        """What a user should look at: a shift of more than 1, or one that moves much."""
        if abs(self.shift) <= _LARGE and abs(self.sensitivity - self.unshifted) <= _MOVED:
            return None
        return (
            f"The shift of the output bias, {self.shift:+.2f}, changes the sensitivity from "
            f"{self.unshifted:.3f} to {self.sensitivity:.3f} on the {self.images} images that "
            f"chose it. (This line is for a shift of more than {_LARGE:g} or a change of more than "
            f"{_MOVED}.) Look at the vessel masks."
        )

    def print_remark(self) -> None:
        """Print the remark, if there is one, where progress bars are shown."""
        if remark := self.remark():
            print(remark, file=sys.stderr)


def shift_of(threshold: float) -> float:
    """The shift of logits that makes 0.5 of a threshold; 0 at 0.5."""
    return math.log((1 - threshold) / threshold)


def choosing(training: Sequence[T]) -> list[T]:
    """The training images that choose a threshold together with the validation images.

    All, or ten of them, evenly spread.
    """
    step = max(len(training) / _MOST, 1)
    return [training[int(number * step)] for number in range(min(len(training), _MOST))]


def have_vessels(sweeps: Iterable[Sweep]) -> bool:
    """Whether one of the images has vessels, without which no threshold can be chosen."""
    return any(sweep.vessel for sweep in sweeps)


def thresholds_by_way(training: Sequence[Sweep], validation: Sequence[Sweep]) -> dict[str, float]:
    """The thresholds that several ways of choosing give, by name, the way that we use first.

    A way whose images are missing, or have no vessels, is left out.
    """
    training, validation = (
        sweeps if have_vessels(sweeps) else [] for sweeps in (training, validation)
    )
    both = [*training, *validation] if training and validation else []
    ways = {
        "training and validation images": both,
        "training images": training,
        "validation images": validation,
    }
    chosen = {way: Sweep.sum(sweeps).best() for way, sweeps in ways.items() if sweeps}
    half = float(Sweep.sum(training).f1().max()) / 2 if training else 0.0
    if half:
        chosen["F1/2 of the training images"] = half
        if validation:
            few = shift_of(chosen["validation images"])
            many = _PRIOR * shift_of(half)
            mean = (len(validation) * few + many) / (len(validation) + _PRIOR)
            chosen["validation images, shrunk towards F1/2"] = 1 / (1 + math.exp(mean))
    return chosen
