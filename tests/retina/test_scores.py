"""Scores against scikit-learn, and where they are undefined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from torchattn_blocks.retina import DRIVE, drive, markdown_table, pooled_scores


def reference(probability, truth, threshold):
    predicted = probability > threshold
    return {
        "SEN": metrics.recall_score(truth, predicted),
        "SPE": metrics.recall_score(~truth, ~predicted),
        "F1": metrics.f1_score(truth, predicted),
        "ACC": metrics.accuracy_score(truth, predicted),
        "AUC": metrics.roc_auc_score(truth, probability),
    }


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.tuples(st.integers(3, 12), st.integers(3, 12)), min_size=1, max_size=4),
    threshold=st.floats(0.2, 0.8),
    levels=st.sampled_from([5, 1000]),  # few levels: many ties
)
@settings(max_examples=60)
def test_equal_scikit_learns(seed, sizes, threshold, levels):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(1, levels, size) / levels for size in sizes]
    labels = [rng.random(size) < p for size, p in zip(sizes, maps, strict=True)]
    labels[0].flat[:2] = True, False  # both kinds occur
    ours = pooled_scores(maps, labels, threshold=threshold)
    flat = [np.concatenate([m.ravel() for m in x]) for x in (maps, labels)]
    assert ours == pytest.approx(reference(*flat, threshold), abs=1e-6)


def test_photographs_are_pooled_and_not_averaged():
    maps = [np.full((1, 1), 0.9), np.full((10, 10), 0.1)]
    labels = [np.ones((1, 1), bool), np.ones((10, 10), bool)]
    assert pooled_scores(maps, labels)["SEN"] == pytest.approx(1 / 101)


def test_area_under_the_curve_of_a_million_pixels_is_exact():
    rng = np.random.default_rng(0)
    score = rng.random(1_000_000, dtype=np.float32)
    truth = rng.random(1_000_000) < score**2
    ours = pooled_scores([score], [truth])["AUC"]
    assert ours == pytest.approx(metrics.roc_auc_score(truth, score), abs=2e-6)


def test_undefined_scores_are_nan():
    probability = np.array([[0.2, 0.7]])
    nothing = pooled_scores([probability], [np.zeros((1, 2), bool)])
    assert math.isnan(nothing["SEN"])
    assert math.isnan(nothing["AUC"])
    assert nothing["SPE"] == 0.5
    everything = pooled_scores([probability], [np.ones((1, 2), bool)])
    assert math.isnan(everything["SPE"])
    assert everything["SEN"] == 0.5


def test_a_map_of_zeros_and_ones_has_no_curve():
    scores = pooled_scores([np.array([[True, False]])], [np.array([[True, True]])])
    assert math.isnan(scores["AUC"])
    assert scores["SEN"] == 0.5


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [
        ([], [], "got 0 maps and 0 labels"),
        ([np.zeros((2, 2))], [], "got 1 maps and 0 labels"),
        ([np.zeros((2, 2))], [np.zeros((2, 3), bool)], r"map 0 has shape \(2, 2\), .*\(2, 3\)"),
    ],
)
def test_bad_arguments(maps, labels, message):
    with pytest.raises(ValueError, match=message):
        pooled_scores(maps, labels)


def test_second_observer_of_drive(real_data):
    files = DRIVE.split(
        [*drive(real_data / "DRIVE", "training"), *drive(real_data / "DRIVE", "test")]
    )
    photographs = [file.read() for file in files.test]
    scores = pooled_scores([f.second for f in photographs], [f.label for f in photographs])
    assert scores["F1"] == pytest.approx(0.7889, abs=5e-5)
    assert scores["ACC"] == pytest.approx(0.9637, abs=5e-5)


def test_table():
    table = markdown_table({"a": {"F1": 0.5, "AUC": 1.0}, "longer": {"F1": 0.25, "AUC": math.nan}})
    assert table.splitlines() == [
        "|        |    F1 |    AUC |",
        "|--------|------:|-------:|",
        "| a      | .5000 | 1.0000 |",
        "| longer | .2500 |      – |",
    ]
