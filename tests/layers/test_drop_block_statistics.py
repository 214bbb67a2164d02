"""DropBlock's statistics: what fraction it drops, where, and what it scales by."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchattn_blocks.functional import drop_block2d

every_scale = pytest.mark.parametrize("scale", ["constant", "batch", "position"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def keep_and_variance(p, size, block, gamma):
    """Mean keep fraction of one map, and an upper bound of its variance.

    Two positions are kept together with probability exp(-t (n + m - o)), o being the cells they
    share; their covariance exp(-t (n + m)) (exp(t o) - 1) is at most exp(-t n) (exp(t A) - 1) o / A
    for blocks of area A, and the o of one position sum to n A.
    """
    rows, columns = (
        [sum(max(0, i - b + 1) <= c <= min(i, s - b) for c in range(s)) for i in range(s)]
        for s, b in zip(size, block, strict=True)
    )
    n = np.outer(rows, columns)
    area, positions = math.prod(block), math.prod(size)
    if gamma == "paper":
        cells = math.prod(s - b + 1 for s, b in zip(size, block, strict=True))
        t = -math.log1p(-p / area * positions / cells)
        keep = np.exp(-t * n).mean()
    else:
        low, high = 0.0, 800.0
        for _ in range(200):  # bisection: another method than the library's
            t = (low + high) / 2
            low, high = (t, high) if np.exp(-t * n).mean() > 1 - p else (low, t)
        keep = 1 - p
    return keep, (np.exp(-t * n) * n).mean() * math.expm1(t * area) / positions


SIZES = [(1, 1), (1, 9), (6, 9), (7, 7), (14, 14), (37, 74), (150, 600)]


BLOCKS = [1, 2, 7, (3, 8), (1, 15), 20]


@pytest.mark.parametrize("gamma", ["exact", "paper"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("block_size", BLOCKS, ids=str)
@pytest.mark.parametrize("p", [0.02, 0.15, 0.5, 0.9])
def test_realised_keep_fraction(gamma, size, block_size, p):
    """Within 6 standard deviations: fewer than one false alarm in a million runs of all cases."""
    block = (block_size, block_size) if isinstance(block_size, int) else block_size
    block = tuple(map(min, block, size))
    keep, variance = keep_and_variance(p, size, block, gamma)
    # Enough maps for some 300 blocks to fall, so that the normal approximation holds.
    planes = math.ceil(300 / (1 - keep) * math.prod(block) / math.prod(size))
    y = drop_block2d(torch.ones(1, planes, *size), p, block_size, gamma=gamma, generator=seeded(7))
    assert abs((y != 0).double().mean() - keep) < 6 * math.sqrt(variance / planes)


def test_keep_fractions_on_a_map_of_600():
    """Tight enough to tell the two gammas apart: .85 as asked, .8606 by the paper's equation."""
    x = torch.ones(1, 24, 600, 600)
    for gamma, seed in (("exact", 1), ("paper", 2)):
        keep, variance = keep_and_variance(0.15, (600, 600), (7, 7), gamma)
        deviation = math.sqrt(variance / 24)
        assert deviation < 0.001
        y = drop_block2d(x, 0.15, 7, gamma=gamma, generator=seeded(seed))
        assert abs((y != 0).double().mean() - keep) < 6 * deviation


@pytest.mark.parametrize(
    ("keep", "size", "realised"),
    [
        (0.85, 8, 0.859),
        (0.85, 14, 0.8654),
        (0.85, 74, 0.8615),
        (0.85, 592, 0.8606),
        (0.9, 14, 0.9071),
    ],
)
def test_the_papers_gamma_keeps_more_than_asked(keep, size, realised):
    expected, _ = keep_and_variance(1 - keep, (size, size), (7, 7), "paper")
    assert expected == pytest.approx(realised, abs=1e-3)


def test_constant_scales_what_is_kept_as_dropout_does():
    y = drop_block2d(torch.ones(4, 8, 30, 30), 0.3, 5, scale="constant")
    assert set(y.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}


@given(seed=st.integers(0, 2**32), channelwise=st.booleans())
@settings(max_examples=50)
def test_batch_keeps_the_mean_multiplier_at_one_unless_all_is_dropped(seed, channelwise):
    x = torch.ones(1, 2, 4, 4, dtype=torch.float64)
    options = {"scale": "batch", "channelwise": channelwise}
    y = drop_block2d(x, 0.6, 3, **options, generator=seeded(seed))
    assert y.mean() == pytest.approx(1, abs=1e-12) or y.count_nonzero() == 0


def test_batch_is_zero_where_all_is_dropped():
    seeds = range(200)
    x = torch.ones(1, 1, 3, 3)
    outputs = [drop_block2d(x, 0.5, 3, scale="batch", generator=seeded(s)) for s in seeds]
    dropped = sum(y.count_nonzero() == 0 for y in outputs)
    assert 60 < dropped < 140  # 100 expected, 5.6 deviations
    assert all(torch.isfinite(y).all() for y in outputs)


def test_position_keeps_the_mean_at_every_position():
    """72 positions and 6 standard deviations each: a false alarm once in a million seeds."""
    planes, size, block, p = 60_000, (8, 9), (3, 4), 0.2
    y = drop_block2d(torch.ones(1, planes, *size), p, block, scale="position", generator=seeded(3))[
        0
    ].double()
    multiplier = y.amax(0)  # 1 / keep probability
    deviation = ((multiplier - 1) / planes).sqrt()
    assert ((y.mean(0) - 1).abs() < 6 * deviation).all()
    assert multiplier.max() / multiplier.min() > 1.1  # it does depend on the position


def test_one_constant_scale_does_not_keep_the_mean_at_every_position():
    y = drop_block2d(torch.ones(1, 20_000, 14, 14), 0.15, 7, generator=seeded(1))[0].mean(0)
    assert y[0, 0] > 1.1
    assert y[7, 7] < 0.9


@pytest.mark.parametrize("channelwise", [True, False])
def test_channelwise(channelwise):
    y = drop_block2d(torch.ones(3, 5, 20, 20), 0.3, 4, channelwise=channelwise)
    same = (y == y[:, :1]).all()
    assert same == (not channelwise)
    assert not (y == y[:1]).all()  # samples differ either way


@every_scale
def test_float16_with_millions_of_elements(scale):
    y = drop_block2d(torch.ones(2, 16, 256, 256, dtype=torch.float16), 0.1, 7, scale=scale)
    assert y.isfinite().all()
    assert y.double().mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("gamma", ["exact", "paper"])
@pytest.mark.parametrize("p", [5e-324, 1e-9, 1 - 1e-9, 1 - 2**-53])
def test_extreme_rates(gamma, p):
    for scale in ("constant", "batch"):
        y = drop_block2d(torch.ones(1, 1, 3, 3), p, 3, gamma=gamma, scale=scale)
        assert y.isfinite().all()
        assert bool(y.any()) == (p < 0.5)


def test_height_of_a_block_comes_first():
    y = drop_block2d(torch.ones(1, 4, 9, 9), 0.5, (1, 9))
    assert ((y == 0).all(3) | (y != 0).all(3)).all()  # whole rows
    assert not (y == 0).all()


def test_masks_come_from_a_number_of_63_bits():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        for _ in range(20):
            drop_block2d(torch.ones(1, 8, 9, 9, requires_grad=True), 0.2, 3)
    seeds = {int(t) for t in saved if t.dtype == torch.int64}
    assert len(seeds) == 20
    assert max(seeds) > 2**60
