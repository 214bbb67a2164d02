"""The choice of a threshold on several images, and how sure it is."""

import math

import numpy as np
import pytest

from torchattn_blocks.retina import ThresholdChoice, best_threshold
from torchattn_blocks.retina.evaluation.counts import Counts
from torchattn_blocks.retina.evaluation.threshold import (
    Sweep,
    choosing,
    shift_of,
    thresholds_by_way,
)


def drawn(seed, best, pixels=400):
    """The map and label of an image whose best threshold is about `best`."""
    random = np.random.default_rng(seed)
    label = random.random((1, pixels)) < 0.2
    logits = random.normal(np.where(label, 1.5, -1.5)) - shift_of(best)
    return 1 / (1 + np.exp(-logits)), label


def sweep(probability, label):
    return Sweep.of(Counts.of(probability, label))


@pytest.fixture
def eyes():
    return [drawn(seed, best) for seed, best in enumerate((0.3, 0.4, 0.6))]


@pytest.fixture
def sweeps(eyes):
    return [sweep(*eye) for eye in eyes]


def test_a_sweep_counts_pixels_above_each_threshold(eyes, sweeps):
    for (probability, label), found in zip(eyes, sweeps, strict=True):
        for percent in (1, 37, 50, 99):
            above = probability > percent / 100
            assert found.true[percent - 1] == np.count_nonzero(above & label)
            assert found.false[percent - 1] == np.count_nonzero(above & ~label)
            assert found.sensitivity(percent / 100) == np.mean(above[label])
        assert found.vessel == np.count_nonzero(label)
        true, false = found.true[49], found.false[49]
        precision, recall = true / (true + false), true / found.vessel
        assert found.f1()[49] == pytest.approx(2 * precision * recall / (precision + recall))


def test_the_choice_is_best_for_all_images_together(eyes, sweeps):
    choice = ThresholdChoice.of(sweeps)
    assert choice.threshold == best_threshold(*zip(*eyes, strict=True))
    assert choice.shift == pytest.approx(math.log((1 - choice.threshold) / choice.threshold))
    alone = [best_threshold([probability], [label]) for probability, label in eyes]
    assert len({*alone, choice.threshold}) == 4
    shifts = [math.log((1 - threshold) / threshold) for threshold in alone]
    assert choice.spread == pytest.approx(np.std(shifts, ddof=1))
    probability, label = map(np.concatenate, zip(*eyes, strict=True))
    assert choice.sensitivity == np.mean(probability[label] > choice.threshold)
    assert choice.unshifted == np.mean(probability[label] > 0.5)
    assert choice.images == 3


def test_what_is_found_in_images_without_vessels_counts(eyes, sweeps):
    blank = np.full((1, 300), 0.62), np.zeros((1, 300), bool)
    choice = ThresholdChoice.of([*sweeps, sweep(*blank)])
    assert choice.threshold == best_threshold(*zip(*eyes, blank, strict=True))
    assert choice.threshold >= 0.62 > ThresholdChoice.of(sweeps).threshold
    assert choice.images == 4
    assert choice.spread == ThresholdChoice.of(sweeps).spread
    ways = thresholds_by_way(sweeps[:2], [sweeps[2], sweep(*blank)])
    assert next(iter(ways.values())) == choice.threshold


def test_one_image_has_no_spread(sweeps):
    choice = ThresholdChoice.of(sweeps[:1])
    assert math.isnan(choice.spread)
    assert choice.notes() == {
        "bias_shift": choice.shift,
        "bias_shift_spread": None,
        "bias_shift_images": 1,
    }
    assert "±" not in choice.said()
    assert f"± {ThresholdChoice.of(sweeps).spread:.2f}" in ThresholdChoice.of(sweeps).said()


@pytest.mark.parametrize(
    ("shift", "before", "now", "is_said"),
    [
        (1.0, 0.80, 0.85, False),
        (1.01, 0.80, 0.80, True),
        (-1.01, 0.80, 0.80, True),
        (0.1, 0.80, 0.851, True),
        (-0.1, 0.80, 0.749, True),
        (-1.0, 0.80, 0.76, False),
    ],
)
def test_an_unusual_shift_is_remarked(capsys, shift, before, now, is_said):
    choice = ThresholdChoice(0.5, shift, 0.3, 20, now, before)
    choice.print_remark()
    said = capsys.readouterr().err
    assert said.count("\n") == is_said
    if is_said:
        assert f"{shift:+.2f}" in said
        assert f"from {before:.3f} to {now:.3f} on the 20 images" in said


@pytest.mark.parametrize(
    ("images", "expected"),
    [(0, []), (3, [0, 1, 2]), (10, [*range(10)]), (20, [*range(0, 20, 2)])],
)
def test_up_to_ten_training_images_choose_evenly_spread(images, expected):
    assert choosing(range(images)) == expected
    assert len({*choosing(range(images))}) == min(images, 10)


def test_of_most_numbers_of_images_none_chooses_twice():
    for images in range(1, 200):
        chosen = choosing(range(images))
        assert len({*chosen}) == min(images, 10)
        assert chosen[-1] >= images - math.ceil(images / 10)


def test_the_ways_of_choosing(eyes, sweeps):
    [one], two = sweeps[:1], sweeps[1:]
    ways = thresholds_by_way(training=two, validation=[one])
    assert [*ways] == [
        "training and validation images",
        "training images",
        "validation images",
        "F1/2 of the training images",
        "validation images, shrunk towards F1/2",
    ]
    maps, labels = zip(*eyes, strict=True)
    assert ways["training and validation images"] == best_threshold(maps, labels)
    assert ways["training images"] == best_threshold(maps[1:], labels[1:])
    assert ways["validation images"] == best_threshold(maps[:1], labels[:1])
    half = Sweep.sum(two).f1().max() / 2
    assert ways["F1/2 of the training images"] == half
    shrunk = shift_of(ways["validation images, shrunk towards F1/2"])
    assert shrunk == pytest.approx((shift_of(ways["validation images"]) + 8 * shift_of(half)) / 9)


def test_ways_without_images_are_left_out(sweeps):
    assert [*thresholds_by_way([], sweeps)] == ["validation images"]
    assert next(iter(thresholds_by_way(sweeps, []))) == "training images"
    bare = Sweep(np.zeros(99, int), np.full(99, 7), 0)
    assert thresholds_by_way([bare], []) == {}
