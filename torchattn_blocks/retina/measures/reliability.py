"""How well two sets of measures of the same images agree."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LIMITS = 1.96  # standard deviations: 95 % of a normal distribution lie between the limits


@dataclass(frozen=True)
class Agreement:
    """What `agreement` returns. Differences are first minus second.

    If the pairs do not define a number, it is NaN: a standard deviation needs two, for example.

    Attributes:
        count: Number of pairs that were compared.
        left_out: Number of pairs with a NaN, which were not compared.
        mean_first: Mean of the first numbers.
        mean_second: Mean of the second numbers.
        mean_difference: Mean of the differences.
        sd_difference: Standard deviation of the differences, with n - 1 in the denominator.
        lower: Lower limit of agreement: mean difference minus 1.96 standard deviations.
        upper: Upper limit of agreement: mean difference plus 1.96 standard deviations.
        icc: The `intraclass_correlation` of the pairs.

    Example:
        >>> from torchattn_blocks.retina import Agreement, agreement
        >>> result = agreement([1, 2, 3], [1, 2, 4])
        >>> isinstance(result, Agreement), round(result.mean_difference, 3)
        (True, -0.333)
    """

    count: int
    left_out: int
    mean_first: float
    mean_second: float
    mean_difference: float
    sd_difference: float
    lower: float
    upper: float
    icc: float


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Compare two methods that measured the same subjects.

    The limits of agreement follow J. M. Bland and D. G. Altman, "Statistical methods for assessing
    agreement between two methods of clinical measurement", The Lancet 327, 1986. About 95 of 100
    differences lie between them if differences are normally distributed and do not depend on the
    size of the measured values. A pair with a NaN is left out.

    Args:
        first: A number for each subject, by the first method. It may be NaN.
        second: A number for each subject, in the same order, by the second method.

    Raises:
        TypeError: If `first` or `second` does not hold numbers.
        ValueError: If the two differ in length or have more than one axis, there are fewer than two
            pairs, or a number is infinite.

    Example:
        >>> from torchattn_blocks.retina import agreement
        >>> result = agreement([10, 12, 14, 16], [11, 12, 13, 18])
        >>> result.mean_difference, round(result.lower, 2), round(result.upper, 2)
        (-0.5, -3.03, 2.03)
    """
    given = {"first": first, "second": second}
    one, other = (_numbers("agreement", name, values, axes=1) for name, values in given.items())
    if len(one) != len(other):
        raise ValueError(
            "agreement: first and second must have the same length, "
            f"got {len(one)} and {len(other)}"
        )
    if len(one) < 2:
        raise ValueError(f"agreement: first and second must have at least 2 pairs, got {len(one)}")
    pairs = np.stack([one, other], axis=1)
    known = pairs[~np.isnan(pairs).any(axis=1)]
    count = len(known)
    mean_first, mean_second = known.mean(axis=0).tolist() if count else (math.nan, math.nan)
    differences = known[:, 0] - known[:, 1]
    mean = float(differences.mean()) if count else math.nan
    sd = float(differences.std(ddof=1)) if count > 1 else math.nan
    return Agreement(
        count=count,
        left_out=len(pairs) - count,
        mean_first=mean_first,
        mean_second=mean_second,
        mean_difference=mean,
        sd_difference=sd,
        lower=mean - _LIMITS * sd,
        upper=mean + _LIMITS * sd,
        icc=intraclass_correlation(known) if count > 1 else math.nan,
    )


def intraclass_correlation(ratings: ArrayLike) -> float:
    r"""The intraclass correlation of subjects that several raters measured: ICC(2,1).

    This is the share of the variance that comes from the subjects. Subjects and raters are both
    random, each number comes from a single rater, and raters must agree absolutely: a rater who
    always measures more lowers it. With the mean squares of the subjects :math:`B`, of the raters
    :math:`J` and of the rest :math:`E`, for n subjects and k raters, it is

    .. math:: \frac{B - E}{B + (k - 1) E + k (J - E) / n}

    as in P. E. Shrout and J. L. Fleiss, "Intraclass correlations: uses in assessing rater
    reliability", Psychological Bulletin 86, 1979.

    Args:
        ratings: Numbers of shape (n, k): a row for each subject, a column for each rater.

    Returns:
        1 if all raters agree; 0 or below if subjects differ no more than chance. NaN if nothing
        varies, or if the denominator is 0.

    Raises:
        TypeError: If `ratings` are not numbers.
        ValueError: If there are fewer than two subjects or raters, or a number is not finite.

    Example:
        >>> from torchattn_blocks.retina import intraclass_correlation
        >>> round(intraclass_correlation([[1, 2], [3, 4], [5, 6], [7, 8]]), 3)
        0.93
    """
    table = _numbers("intraclass_correlation", "ratings", ratings, axes=2)
    subjects, raters = table.shape
    if subjects < 2 or raters < 2:
        raise ValueError(
            "intraclass_correlation: ratings must be of at least 2 subjects and 2 raters, "
            f"got shape {table.shape}"
        )
    if np.isnan(table).any():
        raise ValueError("intraclass_correlation: ratings must be finite, got NaN")
    rounding = table.size * np.finfo(np.float64).eps * float(np.abs(table).max())
    table = table - table.mean()
    of_subject, of_rater = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    between = raters * float((of_subject**2).sum()) / (subjects - 1)
    judges = subjects * float((of_rater**2).sum()) / (raters - 1)
    rest = table - of_subject - of_rater
    error = float((rest**2).sum()) / ((subjects - 1) * (raters - 1))
    # The denominator with E written once: it is exactly 0, not almost 0, if terms cancel.
    share = raters / subjects
    whole = between + share * judges + (raters - 1 - share) * error
    return (between - error) / whole if whole > rounding**2 else math.nan


def _numbers(owner: str, name: str, values: ArrayLike, *, axes: int) -> NDArray[np.float64]:
    """The values as an array with so many axes; NaN is allowed."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{owner}: the rows of {name} must have the same length") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{owner}: {name} must be numbers, got type {array.dtype}")
    if array.ndim != axes:
        expected = "one axis" if axes == 1 else f"{axes} axes"
        raise ValueError(f"{owner}: {name} must have {expected}, got shape {array.shape}")
    if np.isinf(array).any():
        raise ValueError(f"{owner}: {name} must hold no infinite number")
    return array.astype(np.float64)
