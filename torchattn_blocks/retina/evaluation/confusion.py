"""True and false positives and negatives of vessel masks, and the scores that follow from them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Confusion(NamedTuple):
    """The confusion matrix of a vessel mask.

    Attributes:
        tp: True positives: pixels of vessel that were found.
        fp: False positives.
        tn: True negatives.
        fn: False negatives.
    """

    tp: int
    fp: int
    tn: int
    fn: int

    @classmethod
    def of(
        cls, vessels: NDArray[np.bool_], label: NDArray[np.bool_], pixels: int | None = None
    ) -> "Confusion":
        """Compare two vessel masks of one shape, in so many pixels; by default in all.

        All vessels of both must lie in these pixels.
        """
        found, true, tp = (
            int(np.count_nonzero(mask)) for mask in (vessels, label, vessels & label)
        )
        return cls.at(tp, found - tp, true, (label.size if pixels is None else pixels) - true)

    @classmethod
    def at(cls, tp: int, fp: int, positives: int, negatives: int) -> "Confusion":
        """The matrix of so many true and false positives among all vessel and all other pixels."""
        return cls(tp, fp, negatives - fp, positives - tp)

    def plus(self, other: "Confusion") -> "Confusion":
        """The matrix of both images together."""
        return Confusion(*(a + b for a, b in zip(self, other, strict=True)))

    def scores(self, areas: tuple[float, float]) -> dict[str, float]:
        """The scores of the mask, with AUC and AP in their place; an undefined score is NaN."""
        tp, fp, tn, fn = self
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return {
            "SEN": ratio(tp, tp + fn),
            "SPE": ratio(tn, tn + fp),
            "F1": ratio(2 * tp, 2 * tp + fp + fn),
            "ACC": ratio(tp + tn, tp + fp + tn + fn),
            "AUC": areas[0],
            "AP": areas[1],
            "MCC": ratio(tp * tn - fp * fn, math.sqrt(product)),
        }


def ratio(part: float, whole: float) -> float:
    """A fraction, or NaN if the denominator is 0."""
    return part / whole if whole else math.nan
