"""The agreement of two methods, and its figure."""

import math

import numpy as np
import pytest

from torchattn_blocks.retina import agreement, intraclass_correlation

# Table 2 of Shrout and Fleiss, 1979: six targets, four judges.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]

# Random tables, and the ICC(2,1), there called ICC(A,1), that pingouin 0.7.0 gives for each.
PINGOUIN = [
    (
        [[10.17, 10.0], [9.42, 9.62], [11.22, 11.86], [9.94, 10.1], [8.23, 8.3], [11.21, 11.4]],
        0.969195836719285,
    ),
    (
        [
            [9.34, 8.35, 6.76],
            [14.08, 12.45, 12.8],
            [8.41, 6.87, 5.51],
            [11.11, 10.35, 10.7],
            [11.64, 12.74, 12.21],
        ],
        0.8700486291855086,
    ),
    (
        [
            [9.7, 13.23, 14.97, 8.66],
            [12.96, 12.98, 13.54, 7.42],
            [8.05, 8.65, 6.21, 14.46],
            [13.87, 16.26, 14.26, 19.3],
        ],
        0.34295191379987344,
    ),
    (
        [
            [7.36, 10.65, 18.64, 14.21, 23.97],
            [12.84, 8.73, 10.01, 6.44, 5.51],
            [6.54, 6.3, 9.86, -0.38, 11.84],
        ],
        0.3569895358964017,
    ),
]

# Bland and Altman, 1986: peak expiratory flow in l/min, the first reading of each meter.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_correlation_of_shrout_and_fleiss():
    assert round(intraclass_correlation(JUDGES), 2) == 0.29


@pytest.mark.parametrize(("table", "expected"), PINGOUIN)
def test_the_correlation_is_that_of_pingouin(table, expected):
    assert intraclass_correlation(table) == pytest.approx(expected, rel=1e-12)


def test_an_offset_of_one_rater_lowers_the_correlation_but_one_of_all_does_not():
    table = np.array(PINGOUIN[0][0])
    shifted = intraclass_correlation(table + np.array([0, 1]))
    assert shifted < intraclass_correlation(table) - 0.1
    assert intraclass_correlation(table + 1000) == pytest.approx(intraclass_correlation(table))
    assert intraclass_correlation(table * 1e-7) == pytest.approx(intraclass_correlation(table))
    assert intraclass_correlation(np.stack([table[:, 0]] * 3, axis=1)) == pytest.approx(1)


@pytest.mark.parametrize(
    "table",
    [np.full((3, 2), 0.1), np.full((7, 3), 1e9 / 3), [[0, 0], [0, 0]], [[0.1, 0.3], [0.3, 0.1]]],
    ids=["constant", "large", "zeros", "denominator 0"],
)
def test_a_correlation_that_is_undefined_is_nan(table):
    assert math.isnan(intraclass_correlation(table))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([[1, 2]], ValueError, r"at least 2 subjects and 2 raters, got shape \(1, 2\)"),
        ([[1], [2]], ValueError, r"at least 2 subjects and 2 raters, got shape \(2, 1\)"),
        ([1, 2], ValueError, r"ratings must have 2 axes, got shape \(2,\)"),
        ([[1, 2], [3]], ValueError, "rows of ratings must have the same length"),
        ([[1, 2], [3, math.nan]], ValueError, "ratings must be finite, got NaN"),
        ([[1, 2], [3, math.inf]], ValueError, "ratings must hold no infinite number"),
        ([["a", "b"], ["c", "d"]], TypeError, "ratings must be numbers, got type <U1"),
        ([[1, 2], [3, None]], TypeError, "ratings must be numbers, got type object"),
    ],
)
def test_ratings_are_checked(table, error, message):
    with pytest.raises(error, match=f"^intraclass_correlation: .*{message}"):
        intraclass_correlation(table)


def test_the_limits_of_bland_and_altman():
    """Their numbers: -2.1, 38.8, and limits of two standard deviations at -79.7 and 75.5."""
    result = agreement(WRIGHT, MINI)
    assert (result.count, result.left_out) == (17, 0)
    assert round(result.mean_difference, 1) == -2.1
    assert round(result.sd_difference, 1) == 38.8
    assert result.mean_first - result.mean_second == pytest.approx(result.mean_difference)
    limits = result.lower, result.upper
    assert limits == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.15)
    assert result.icc == pytest.approx(0.945928, abs=1e-6)  # pingouin


def test_the_limits_computed_by_hand():
    """Differences -1, 0, 1 and -2: their mean is -1/2, their squared deviations sum to 5."""
    result = agreement([10, 12, 14, 16], [11, 12, 13, 18])
    sd = math.sqrt(5 / 3)
    assert (result.mean_first, result.mean_second) == (13, 13.5)
    assert result.sd_difference == pytest.approx(sd)
    assert result.lower == pytest.approx(-0.5 - 1.96 * sd)
    assert result.upper == pytest.approx(-0.5 + 1.96 * sd)


def test_pairs_with_a_nan_are_left_out_and_counted():
    nan = math.nan
    result = agreement([10, nan, 12, 14, 5, 16], [11, 3, 12, 13, nan, 18])
    whole = agreement([10, 12, 14, 16], [11, 12, 13, 18])
    assert (result.count, result.left_out) == (4, 2)
    assert result.lower == whole.lower
    assert result.icc == whole.icc


def test_too_few_known_pairs_give_nan():
    nan = math.nan
    one, none = agreement([1, nan], [3, 4]), agreement([1, nan], [nan, 4])
    assert (one.count, one.left_out, one.mean_difference) == (1, 1, -2)
    assert (none.count, none.left_out) == (0, 2)
    undefined = one.sd_difference, one.upper, one.icc, none.mean_first, none.mean_difference
    assert all(map(math.isnan, undefined))


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        ([1, 2], [1, 2, 3], ValueError, "must have the same length, got 2 and 3"),
        ([1], [2], ValueError, "at least 2 pairs, got 1"),
        ([], [], ValueError, "at least 2 pairs, got 0"),
        (["1", "2"], [1, 2], TypeError, "first must be numbers, got type <U1"),
        ([1, 2], [1, None], TypeError, "second must be numbers, got type object"),
        ([True, False], [1, 2], TypeError, "first must be numbers, got type bool"),
        ([1, 2], [1, math.inf], ValueError, "second must hold no infinite number"),
        ([[1, 2]], [1, 2], ValueError, r"first must have one axis, got shape \(1, 2\)"),
    ],
)
def test_pairs_are_checked(first, second, error, message):
    with pytest.raises(error, match=f"^agreement: .*{message}"):
        agreement(first, second)
