"""How many pixels of vessel and of background have each probability. All curves come from this."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.arange(1, 100) / 100  # among which a threshold is chosen
_MOST = 2**23  # how many different values are kept apart; a map of 16 bits has at most 2**16


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
        return joined(
            [
                cls(*vessel, np.zeros_like(vessel[1])),
                cls(background[0], np.zeros_like(background[1]), background[1]),
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

        They agree with scikit-learn: the ROC curve is straight between two values, and precision is
        taken at the lower one.
        """
        if not self.has_curve:
            return math.nan, math.nan
        true, false = self.found()
        positives, negatives = int(true[-1]), int(false[-1])
        twice = np.dot(np.diff(false), true[1:] + true[:-1])  # in whole numbers, hence exact
        precision = true[1:] / (true[1:] + false[1:])
        return (
            int(twice) / (2 * positives * negatives),
            float(np.dot(np.diff(true), precision)) / positives,
        )


class Pool:
    """The counts of many images together, in memory that does not grow with their number.

    Up to eight million different values are kept apart, so that all curves are exact. If there are
    more, only the million highest pixels are kept apart. Below them, neighbours are counted as one,
    never across a hundredth. A group has about a millionth of the pixels above it, so precision
    changes by about a millionth.
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
            total = _grouped(total, _MOST // 8)
        self._parts = [total]
        return total


def joined(parts: Sequence[Counts]) -> Counts:
    """The counts of several sets of pixels together."""
    if len(parts) == 1:
        return parts[0]
    values, vessel, background = map(np.concatenate, zip(*parts, strict=True))
    order = values.argsort(kind="stable")  # merges the parts, which are sorted
    ordered = Counts(values[order], vessel[order], background[order])
    return _summed(ordered, _starts(ordered.values))


def above(counts: Counts, thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each threshold, where the values above it begin.

    They are compared in the precision of the values, like ``>``: float32's 0.3 is not above 0.3.
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


def _grouped(counts: Counts, apart: int) -> Counts:
    """Count neighbouring values as the lowest of them, in groups of pixels / `apart` above them."""
    pixels = counts.vessel + counts.background
    higher = pixels.sum() - pixels.cumsum()
    # From `apart` pixels on, the groups grow with the logarithm of the pixels above them.
    group = np.where(higher < apart, higher, apart * (1 + np.log(np.maximum(higher / apart, 1))))
    is_first = np.diff(np.floor(group), prepend=np.inf) < 0
    has_many = pixels * apart > np.maximum(higher, apart)  # such a value stays alone:
    is_first[1:] |= has_many[:-1]  # it begins a group anyway, and the next one does
    is_first[[start for start in above(counts, THRESHOLDS) if start < len(is_first)]] = True
    return _summed(counts, np.flatnonzero(is_first))


def _summed(counts: Counts, starts: NDArray[np.intp]) -> Counts:
    """One value, the lowest, for each run of values that begins at one of these places."""
    together = (np.add.reduceat(n, starts) for n in (counts.vessel, counts.background))
    return Counts(counts.values[starts], *together)
