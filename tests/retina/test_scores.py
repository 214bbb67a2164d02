"""Scores against scikit-learn, and where they are undefined."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    best_threshold,
    cl_dice,
    image_scores,
    list_drive,
    markdown_table,
    pooled_scores,
)
from torchattn_blocks.retina.evaluation import connectivity


def reference(probability, truth, threshold):
    predicted = probability > threshold
    return {
        "SEN": metrics.recall_score(truth, predicted),
        "SPE": metrics.recall_score(~truth, ~predicted),
        "F1": metrics.f1_score(truth, predicted),
        "ACC": metrics.accuracy_score(truth, predicted),
        "AUC": metrics.roc_auc_score(truth, probability),
        "AP": metrics.average_precision_score(truth, probability),
        # scikit-learn has 0 where it is undefined
        "MCC": metrics.matthews_corrcoef(truth, predicted) if len(set(predicted)) > 1 else math.nan,
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
    assert ours == pytest.approx(reference(*flat, threshold), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("threshold", [0.3, np.float64(0.3), np.float32(0.3)])
def test_a_threshold_is_compared_in_the_precision_of_the_map(threshold):
    """As in `best_threshold`: float32's 0.3 is not above 0.3, though it is above float64's."""
    maps, labels = [np.array([[0.3, 0.9], [0.1, 0.3]], np.float32)], [np.eye(2, dtype=bool)]
    assert pooled_scores(maps, labels, threshold=threshold)["SEN"] == 0
    assert image_scores(maps, labels, threshold=threshold)["SEN"]["mean"] == 0


def test_read_only_arrays_are_scored():
    maps, labels, masks = made_up(4)
    expected = image_scores(maps, labels, masks=masks), cl_dice(masks[0], labels[0])
    for array in (*maps, *labels, *masks):
        array.setflags(write=False)
    assert image_scores(maps, labels, masks=masks) == expected[0]
    assert cl_dice(masks[0], labels[0]) == expected[1]


def test_a_skeleton_is_made_of_a_new_array(monkeypatch):
    """Never of the user's, whose memory another library may have written."""
    given = []
    monkeypatch.setattr(connectivity, "skeletonize", lambda x: given.append(x) or x)
    _, (label, other, _), _ = made_up(5)
    cl_dice(label, other)
    for array, users in zip(given, (label, other), strict=True):
        assert np.array_equal(array, users)
        assert array.flags.writeable
        assert not np.shares_memory(array, users)


def test_images_are_pooled_and_not_averaged():
    maps = [np.full((1, 1), 0.9), np.full((10, 10), 0.1)]
    labels = [np.ones((1, 1), bool), np.ones((10, 10), bool)]
    assert pooled_scores(maps, labels)["SEN"] == pytest.approx(1 / 101)


def test_area_under_the_curve_of_a_million_pixels_is_exact():
    rng = np.random.default_rng(0)
    score = rng.random((1000, 1000), dtype=np.float32)
    truth = rng.random((1000, 1000)) < score**2
    ours = pooled_scores([score], [truth])["AUC"]
    assert ours == pytest.approx(metrics.roc_auc_score(truth.ravel(), score.ravel()), abs=1e-12)


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
        ([], [], "at least 1; got 0 probabilities, 0 labels"),
        ([np.zeros((2, 2))], [], "got 1 probabilities, 0 labels"),
        ([np.zeros((2, 2))], [np.zeros((2, 3), bool)], r"got \[\(2, 2\), \(2, 3\).* in entry 0"),
        (np.zeros((2, 2)), np.zeros((2, 2), bool), r"\(H, W\) .* got \[\(2,\).* Pass a list"),
    ],
)
def test_bad_arguments(maps, labels, message):
    with pytest.raises(ValueError, match=message):
        pooled_scores(maps, labels)


def test_second_observer_of_drive(real_data):
    files = DRIVE_PROTOCOL.split(
        [*list_drive(real_data / "DRIVE", "training"), *list_drive(real_data / "DRIVE", "test")]
    )
    images = [file.read() for file in files.test]
    scores = pooled_scores([f.second_label for f in images], [f.label for f in images])
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


def made_up(seed, count=3, size=(24, 30)):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(1, 1000, size) / 1000 for _ in range(count)]
    labels = [rng.random(size) < p for p in maps]
    masks = [rng.random(size) < 0.5 for _ in maps]
    return maps, labels, masks


def test_masks_leave_out_what_lies_outside():
    maps, labels, masks = made_up(0)
    inside = pooled_scores(maps, labels, masks=masks)
    cut = [[x[m][None] for x, m in zip(xs, masks, strict=True)] for xs in (maps, labels)]
    assert inside == pooled_scores(*cut)
    for probability, mask in zip(maps, masks, strict=True):
        probability[~mask] = 0.999
    assert inside == pooled_scores(maps, labels, masks=masks)


@pytest.mark.parametrize("with_masks", [False, True])
def test_image_scores_are_those_of_each_image_alone(with_masks):
    maps, labels, masks = made_up(1)
    given_masks = masks if with_masks else None
    scores = image_scores(maps, labels, threshold=0.6, masks=given_masks)
    alone = [
        pooled_scores(
            *([x] for x in one[:2]), threshold=0.6, masks=[one[2]] if with_masks else None
        )
        for one in zip(maps, labels, masks, strict=True)
    ]
    for name in alone[0]:
        values = [row[name] for row in alone]
        assert scores[name]["mean"] == pytest.approx(np.mean(values))
        assert scores[name]["std"] == pytest.approx(np.std(values, ddof=1))
    cut = [m & (p > 0.6) if with_masks else p > 0.6 for p, m in zip(maps, masks, strict=True)]
    true = [m & t if with_masks else t for t, m in zip(labels, masks, strict=True)]
    expected = np.mean([cl_dice(v, t) for v, t in zip(cut, true, strict=True)])
    assert scores["clDice"]["mean"] == pytest.approx(expected)


def test_image_scores_leave_out_what_is_undefined():
    labels = [np.zeros((4, 4), bool), np.eye(4, dtype=bool)]
    scores = image_scores([np.full((4, 4), 0.7)] * 2, labels)
    assert scores["SEN"]["mean"] == 1.0
    assert math.isnan(scores["SEN"]["std"])


def test_cl_dice_follows_its_definition():
    label = np.zeros((20, 40), bool)
    label[8:13] = True
    thin = np.zeros_like(label)
    thin[10] = True
    assert cl_dice(label, label) == 1
    assert cl_dice(thin, label) > 0.95  # the width costs nothing ...
    gap = label.copy()
    gap[:, 15:25] = False
    assert 0.8 < cl_dice(gap, label) < 0.95  # ... a gap does
    assert cl_dice(~label, label) == 0
    assert cl_dice(np.zeros_like(label), label) == 0
    assert math.isnan(cl_dice(np.zeros_like(label), np.zeros_like(label)))


def test_second_observers_cl_dice_on_drive(real_data):
    images = [file.read() for file in list_drive(real_data / "DRIVE", "test")]
    scores = [cl_dice(f.second_label, f.label) for f in images]
    assert np.mean(scores) == pytest.approx(0.763, abs=5e-4)


@pytest.mark.parametrize(
    ("error", "probability", "kind", "message"),
    [
        (ValueError, np.array([[np.nan, 0.5]]), bool, r"must lie in \[0, 1\], got values from"),
        (ValueError, np.array([[-3.0, 0.5]]), bool, r"from -3.0 to 0.5 in entry 0"),
        (TypeError, np.array([[0.2, 0.5]]), np.uint8, "must be of type bool, got .'uint8'"),
        (TypeError, np.array([[0.2j, 0.5]]), bool, "of a real type, got complex128 in entry 0"),
        (TypeError, np.array([[0.2, None]]), bool, "of a real type, got object in entry 0"),
    ],
)
def test_bad_values(error, probability, kind, message):
    label = np.array([[1, 0]], dtype=kind)
    with pytest.raises(error, match=message):
        pooled_scores([probability], [label])


@pytest.mark.parametrize("score", [pooled_scores, image_scores, best_threshold])
def test_tensors_are_refused(score):
    maps, labels, masks = made_up(2)
    name = score.__name__

    def tensors(arrays):
        return [torch.from_numpy(array) for array in arrays]

    with pytest.raises(TypeError, match=f"{name}: probabilities must be NumPy arrays, got Tensor"):
        score(tensors(maps), tensors(labels))
    with pytest.raises(TypeError, match=f"{name}: labels must be NumPy arrays, got Tensor"):
        score(maps, tensors(labels))
    with pytest.raises(TypeError, match=f"{name}: masks must be NumPy arrays, got Tensor"):
        score(maps, labels, masks=tensors(masks))


def test_bad_masks_for_cl_dice():
    mask = np.ones((4, 5), bool)
    for bad, got in ((torch.from_numpy(mask), "Tensor"), (mask.astype(np.uint8), "uint8")):
        with pytest.raises(TypeError, match=f"cl_dice: vessels must be a NumPy array.*got {got}"):
            cl_dice(bad, mask)
        with pytest.raises(TypeError, match=f"cl_dice: label must be a NumPy array.*got {got}"):
            cl_dice(mask, bad)
    for other in (mask[:3], mask[None]):
        with pytest.raises(ValueError, match=r"must have one shape \(H, W\), got \(4, 5\) and"):
            cl_dice(mask, other)


def test_bad_masks():
    maps, labels, masks = made_up(2)
    with pytest.raises(TypeError, match="must be of type bool"):
        pooled_scores(maps, labels, masks=[mask.astype(np.uint8) for mask in masks])
    with pytest.raises(ValueError, match="pooled_scores: masks must leave a pixel to score"):
        pooled_scores(maps, labels, masks=[np.zeros_like(mask) for mask in masks])


def test_table_goes_by_names_and_holds_large_numbers():
    table = markdown_table({"a": {"x": 80.5, "y": -0.25}, "b": {"y": 0.1, "x": 0.2}})
    assert table.splitlines()[2:] == ["| a | 80.5000 | -.2500 |", "| b |   .2000 |  .1000 |"]


def test_a_table_needs_a_row():
    with pytest.raises(ValueError, match="markdown_table: rows must have at least 1 entry"):
        markdown_table({})
