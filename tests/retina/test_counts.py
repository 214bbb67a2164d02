"""Curves from counts of pixels: exact, and in bounded memory close to that."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from torchattn_blocks.retina import best_threshold
from torchattn_blocks.retina.evaluation import counts as module
from torchattn_blocks.retina.evaluation.counts import THRESHOLDS, Counts, Pool, above, joined
from torchattn_blocks.retina.evaluation.threshold import Sweep

KINDS = {16: np.float16, 32: np.float32, 64: np.float64}


@st.composite
def scored(draw):
    """Values and labels of the pixels of a few images, anything that a map may hold."""
    width = draw(st.sampled_from([*KINDS]))
    any_value = st.floats(0, 1, width=width)
    few = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # ties
    narrow = st.integers(0, 9).map(
        lambda n: KINDS[width](0.5) * (1 + n * np.finfo(KINDS[width]).eps)
    )
    shape = st.integers(1, 40)
    images = draw(st.lists(shape, min_size=1, max_size=4))
    values = [
        draw(arrays(KINDS[width], size, elements=draw(st.sampled_from([any_value, few, narrow]))))
        for size in images
    ]
    return values, [draw(arrays(bool, size)) for size in images]


def reference(values, truth):
    area = metrics.roc_auc_score(truth, values)
    return area, metrics.average_precision_score(truth, values)


@given(scored())
@settings(max_examples=150, deadline=None)
def test_areas_are_scikit_learns_for_all_values_of_all_kinds(images):
    pool = Pool()
    for values, truth in zip(*images, strict=True):
        pool.add(Counts.of(values, truth))
    counts = pool.total()
    values, truth = (np.concatenate(arrays) for arrays in images)
    assert counts.values.dtype == values.dtype
    assert (np.diff(counts.values) > 0).all()
    assert counts.vessel.sum() == truth.sum()
    assert counts.background.sum() == (~truth).sum()
    is_curve = 0 < truth.sum() < truth.size and ((values > 0) & (values < 1)).any()
    assert counts.has_curve == is_curve
    if is_curve:
        assert counts.areas() == pytest.approx(reference(values, truth), abs=1e-12)
    else:
        assert np.isnan(counts.areas()).all()


@given(st.integers(0, 2**32), st.floats(0.3, 8))
@settings(max_examples=10, deadline=None)
def test_maps_of_16_bits_keep_every_value(seed, sharp):
    rng = np.random.default_rng(seed)
    logits = sharp * rng.normal(-2, 2, 200_000)
    values = np.rint(65535 / (1 + np.exp(-logits))).astype(np.uint16)
    truth = rng.random(len(values)) < values / 65535
    probability = (values / 65535).astype(np.float32)
    counts = Counts.of(probability, truth)
    assert len(counts.values) == len(np.unique(values))
    assert counts.areas() == pytest.approx(reference(values, truth), abs=1e-12)


@pytest.mark.parametrize("sharp", [1, 3, 8])  # 8: nearly all values lie at 0 and 1
def test_float32_maps_of_a_million_values_are_exact(sharp):
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 2, 1_000_000)
    truth = rng.random(len(logits)) < 1 / (1 + np.exp(-logits))
    values = (1 / (1 + np.exp(-sharp * logits))).astype(np.float32)
    assert Counts.of(values, truth).areas() == pytest.approx(reference(values, truth), abs=1e-10)


@pytest.mark.parametrize("sharp", [1, 8])
def test_more_values_than_are_kept_change_the_areas_hardly(monkeypatch, sharp):
    """With eight million values in place of 2**18, the changes are 32 times smaller."""
    monkeypatch.setattr(module, "_MOST", 2**18)
    rng = np.random.default_rng(0)
    pool, everything = Pool(), []
    for _ in range(8):
        logits = rng.normal(-3, 2, 250_000)
        truth = rng.random(len(logits)) < 1 / (1 + np.exp(-logits))
        values = (1 / (1 + np.exp(-sharp * logits))).astype(np.float32)
        pool.add(Counts.of(values, truth))
        assert sum(len(part.values) for part in pool._parts) <= 2**18
        everything.append((values, truth))
    values, truth = map(np.concatenate, zip(*everything, strict=True))
    counts = pool.total()
    assert len(counts.values) <= 2**18
    assert counts.vessel.sum() == truth.sum()
    area, precision = counts.areas()
    expected = reference(values, truth)
    assert area == pytest.approx(expected[0], abs=1e-7)
    assert precision == pytest.approx(expected[1], abs=32e-7)


def test_a_few_vessels_above_all_others_keep_their_precision(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2**12)
    rng = np.random.default_rng(0)
    pool = Pool()
    for top in (0, 1, 0):
        values = rng.random(10_000) / 2
        values[:top] = 0.9
        pool.add(Counts.of(values, values > 0.8))
    assert pool.total().areas() == (1.0, 1.0)


def test_maps_that_are_right_everywhere_score_exactly_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.random(997) < 0.3
        assert Counts.of(np.where(truth, 0.5, 0) + rng.random(997) / 2, truth).areas() == (1, 1)


def test_groups_never_cross_a_threshold(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2**12)
    rng = np.random.default_rng(1)
    values = rng.random(20_000, dtype=np.float32)
    values[::7] = np.rint(values[::7] * 100) / np.float32(100)  # on the thresholds
    truth = rng.random(len(values)) < values**2
    pool = Pool()
    pool.add(Counts.of(values, truth))
    counts = pool.total()
    assert len(counts.values) < 2**12
    many = len(counts.values) - above(counts, THRESHOLDS)
    true, false = (found[many] for found in counts.found())
    assert true.tolist() == [(truth & (values > t)).sum() for t in THRESHOLDS.tolist()]
    assert false.tolist() == [(~truth & (values > t)).sum() for t in THRESHOLDS.tolist()]
    assert Sweep.of(counts).best() == best_threshold([values[None]], [truth[None]])


def test_a_value_of_many_pixels_stays_alone(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2**12)
    rng = np.random.default_rng(2)
    values = np.concatenate([np.full(5000, 0.105), rng.random(5000)])
    truth = rng.random(len(values)) < 0.3
    pool = Pool()
    pool.add(Counts.of(values, truth))
    counts = pool.total()
    [which] = np.flatnonzero(counts.values == 0.105)
    assert counts.vessel[which] == truth[:5000].sum()
    assert counts.background[which] == (~truth[:5000]).sum()


def test_joined_counts_are_those_of_all_pixels():
    rng = np.random.default_rng(3)
    values, truth = rng.integers(0, 9, 500) / 8, rng.random(500) < 0.4
    whole = Counts.of(values, truth)
    parts = [Counts.of(values[part], truth[part]) for part in (slice(90), slice(90, 500))]
    assert all(map(np.array_equal, joined(parts), whole))
    nothing = Counts.of(values[:0], truth[:0])
    assert all(map(np.array_equal, joined([nothing, whole]), whole))
    assert not nothing.has_curve
