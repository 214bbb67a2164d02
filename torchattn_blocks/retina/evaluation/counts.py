"""How many pixels of vessel and of background have each probability: what all curves come from."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.arange(1, 100) / 100  # among which a threshold is chosen
_MOST = 2**23  # different values that are kept apart; a map of 16 bits has at most 2**16


class Counts(NamedTuple):
    """The pixels of vessel and of background by their value, in ascending order of the values.

    Attributes:
        values: The different values, shape (K,).
        vessel: How many pixels of vessel have each value, shape (K,).
        background: How many other pixels have each value, shape (K,).
    """

    values: NDArray[Any]
    vessel: NDArray[np.int64]
    background: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], truth: NDArray[np.bool_]) -> "Counts":
        """Count pixels, both arrays of one shape."""
        vessel, background = (_counted(values[which]) for which in (truth, ~truth))
        none = np.zeros_like
        return joined(
            [
                cls(vessel[0], vessel[1], none(vessel[1])),
                cls(background[0], none(background[1]), background[1]),
            ]
        )

    @property
    def has_curve(self) -> bool:
        """Whether there is a curve: vessel, background and a value between 0 and 1."""
        between = (self.values > 0) & (self.values < 1)
        return bool(between.any() and self.vessel.any() and self.background.any())

    def found(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """True and false positives from the highest threshold, which finds nothing, to the lowest.

        Both are of shape (K + 1,).
        """
        true, false = (np.append(0, n[::-1].cumsum()) for n in (self.vessel, self.background))
        return true, false

    def areas(self) -> tuple[float, float]:
        """The area under the ROC curve, and average precision; NaN if there is no curve.

        They are scikit-learn's: the ROC curve is straight between two values, and precision is that
        of the lower one.
        """
        if not self.has_curve:
            return math.nan, math.nan
        true, false = (found.astype(np.float64) for found in self.found())
        recall, fall_out = true / true[-1], false / false[-1]
        area = np.sum(np.diff(fall_out) * (recall[1:] + recall[:-1]) / 2)
        precision = true[1:] / (true[1:] + false[1:])
        return float(area), float(np.sum(np.diff(recall) * precision))


class Pool:
    """The counts of many images together, in memory that does not grow with their number.

    Up to eight million different values are kept apart, so that all curves are exact. Of more,
    neighbours are counted as one, in groups of at most a four millionth of all pixels each and
    never across a hundredth: that changes the areas by less than 1e-6.
    """

    def __init__(self) -> None:
        self._parts: list[Counts] = []

    def add(self, counts: Counts) -> None:
        """Add the counts of an image."""
        self._parts.append(counts)
        if sum(len(part.values) for part in self._parts) > _MOST:
            self.total()

    def total(self) -> Counts:
        """The counts of all images."""
        total = joined(self._parts)
        if len(total.values) > _MOST:
            total = _grouped(total, _MOST // 2)
        self._parts = [total]
        return total


def joined(parts: Sequence[Counts]) -> Counts:
    """The counts of several sets of pixels together."""
    if len(parts) == 1:
        return parts[0]
    values, vessel, background = map(np.concatenate, zip(*parts, strict=True))
    order = values.argsort(kind="stable")  # merges the parts, which are sorted
    values = values[order]
    starts = _starts(values)
    together = (np.add.reduceat(n[order], starts) for n in (vessel, background))
    return Counts(values[starts], *together)


def above(counts: Counts, thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each threshold, where the values above it begin.

    They are compared in the precision of the values, as ``>`` does: float32's 0.3 is not above 0.3.
    """
    kind = np.result_type(counts.values, np.float16)
    return np.searchsorted(counts.values, thresholds.astype(kind), side="right")


def _counted(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The different values in ascending order, and how often each occurs."""
    ordered = np.sort(values)
    starts = _starts(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered)).astype(np.int64)


def _starts(ordered: NDArray[Any]) -> NDArray[np.intp]:
    """Where each different value begins."""
    is_new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    return np.flatnonzero(is_new)


def _grouped(counts: Counts, groups: int) -> Counts:
    """Count neighbouring values as the lowest of them, in about so many groups of equal size."""
    pixels = counts.vessel + counts.background
    size = -(-pixels.sum() // groups)
    before = pixels.cumsum() - pixels
    is_first = (np.diff(before // size, prepend=-1) > 0) | (pixels > size)
    is_first[[start for start in above(counts, THRESHOLDS) if start < len(is_first)]] = True
    starts = np.flatnonzero(is_first)
    together = (np.add.reduceat(n, starts) for n in (counts.vessel, counts.background))
    return Counts(counts.values[starts], *together)
