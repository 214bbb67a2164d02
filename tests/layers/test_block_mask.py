"""The mask sampler: the geometry against naive loops, the statistics against their formulas."""

import hashlib
import itertools
import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchattn_blocks.layers._block_mask import (
    BlockMask,
    exact_intensity,
    paper_intensity,
    position_scale,
)
from torchattn_blocks.layers._paint_cpu import (
    DenseBlocks,
    SparseBlocks,
    draw_blocks,
    draws_sparse,
)

CPU = torch.device("cpu")


def densely(mask):
    return DenseBlocks(mask, CPU)


def either(mask):
    return draw_blocks(mask, CPU)


BOTH_WAYS = pytest.mark.parametrize("draw", [SparseBlocks, densely], ids=["sparse", "dense"])


@st.composite
def boxes(draw, least=1, largest=9, dims=(1, 4)):
    """A shape and a block that fits in it."""
    shape = draw(st.lists(st.integers(least, largest), min_size=dims[0], max_size=dims[1]))
    return tuple(shape), tuple(draw(st.integers(1, size)) for size in shape)


def cover(size, block):
    """How many cells cover each position, counted one by one."""
    count = np.zeros(size, dtype=int)
    for cell in itertools.product(*(range(s - b + 1) for s, b in zip(size, block, strict=True))):
        count[tuple(slice(c, c + b) for c, b in zip(cell, block, strict=True))] += 1
    return count


def zeroed(blocks, x):
    return blocks.drop(x, 1.0, x)


def painted(mask, draw=either):
    return 1 - zeroed(draw(mask), torch.ones(mask.shape))


@BOTH_WAYS
@settings(max_examples=60)
@given(box=boxes(), intensity=st.floats(0.01, 2), seed=st.integers(0, 2**63 - 1))
def test_paints_what_a_naive_loop_paints_from_the_same_seeds(draw, box, intensity, seed):
    shape, block = box
    mask = BlockMask(shape, block, intensity, seed)
    # The same number draws the same seeds for blocks of one element on a map of the cells.
    alone = BlockMask(mask.cells, (1,) * len(shape), intensity, seed)
    expected = torch.zeros(shape)
    for cell in painted(alone, draw).nonzero().tolist():
        expected[tuple(slice(c, c + b) for c, b in zip(cell, block, strict=True))] = 1
    assert torch.equal(painted(mask, draw), expected)


@BOTH_WAYS
def test_the_same_in_every_memory_format(draw):
    mask = BlockMask((2, 3, 8, 6), (1, 1, 3, 2), 0.1, 5)
    expected = painted(mask, draw)
    channels_last = torch.ones(mask.shape).contiguous(memory_format=torch.channels_last)
    assert torch.equal(zeroed(draw(mask), channels_last), 1 - expected)
    inside = torch.ones(4, 6, 10, 9)[1:3, ::2, 1:9, 2:8]
    assert torch.equal(zeroed(draw(mask), inside), 1 - expected)


def test_a_slice_is_painted_and_nothing_beside_it():
    whole = torch.ones(4, 6, 10, 9)
    mask = BlockMask((2, 3, 8, 6), (1, 1, 3, 2), 0.3, 5)
    zeroed(either(mask), whole[1:3, ::2, 1:9, 2:8])
    assert (whole == 0).sum() == painted(mask).sum() > 0


@BOTH_WAYS
@pytest.mark.parametrize("value", [1.0, torch.inf, torch.nan, 3e38], ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (2, 3, 8, 6)], ids=["shared", "channelwise"])
def test_zeroes_whatever_is_there(draw, value, shape):
    mask = BlockMask(shape, (1, 1, 3, 2), 0.1, 5)
    dropped = painted(mask, draw).bool().expand(2, 3, 8, 6)
    assert 0 < dropped.sum() < dropped.numel()
    out = zeroed(draw(mask), torch.full((2, 3, 8, 6), value))
    torch.testing.assert_close(
        out, torch.full_like(out, value).masked_fill(dropped, 0), equal_nan=True
    )


@BOTH_WAYS
def test_every_position_is_kept_as_often_as_the_cells_over_it_say(draw):
    """40 positions and 6 standard deviations each: a false alarm once in ten million seeds."""
    planes, size, block, intensity = 100_000, (5, 8), (2, 3), 0.09
    drawn = painted(BlockMask((planes, *size), (1, *block), intensity, seed=11), draw).numpy()
    keep = np.exp(-intensity * cover(size, block))
    deviation = np.sqrt(keep * (1 - keep) / planes)
    assert (np.abs((1 - drawn).mean(0) - keep) < 6 * deviation).all()


@BOTH_WAYS
def test_neighbouring_seeds_are_independent(draw):
    """Both of two adjacent cells are hit with probability gamma squared, within 6 deviations."""
    planes, intensity = 200_000, 0.3
    drawn = painted(BlockMask((planes, 2), (1, 1), intensity, seed=12), draw).numpy()
    gamma = 1 - math.exp(-intensity)
    for value, expected in ((drawn[:, 0] * drawn[:, 1], gamma**2), (drawn, gamma)):
        deviation = math.sqrt(expected * (1 - expected) / value.size)
        assert abs(value.mean() - expected) < 6 * deviation


@settings(max_examples=100)
@given(box=boxes(largest=12, dims=(1, 3)), p=st.floats(0.001, 0.999))
def test_exact_intensity_keeps_what_was_asked(box, p):
    keep = np.exp(-exact_intensity(p, *box) * cover(*box)).mean()
    assert keep == pytest.approx(1 - p, rel=1e-12)


@pytest.mark.parametrize("p", [1e-12, 1e-300, 1 - 1e-12])
def test_exact_intensity_at_extreme_rates(p):
    size, block = (12, 9), (3, 4)
    t = exact_intensity(p, size, block)
    assert -np.expm1(-t * cover(size, block)).mean() == pytest.approx(p, rel=1e-9)


def test_exact_intensity_on_a_large_map():
    rows = cover((592,), (7,))
    keep = np.exp(-exact_intensity(0.15, (592, 592), (7, 7)) * np.outer(rows, rows)).mean()
    assert keep == pytest.approx(0.85, rel=1e-12)


def test_what_depends_on_the_map_is_not_kept():
    """A schedule asks for another rate at each step: arrays of each would fill the memory."""
    mask = BlockMask((1, 1, 40, 40, 40), (1, 1, 3, 3, 3), 0.01, 1)
    tracemalloc.start()
    try:
        for step in range(20):
            p = 0.01 + step / 1000
            intensity = exact_intensity(p, mask.shape[2:], mask.block[2:])
            position_scale(p, intensity, mask.shape[2:], mask.block[2:])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 64_000 * 8  # of one map


def test_paper_intensity_is_equation_1():
    gamma = 0.15 / 49 * (74 * 74) / (68 * 68)
    assert paper_intensity(0.15, (74, 74), (7, 7)) == pytest.approx(-math.log(1 - gamma))


@BOTH_WAYS
@pytest.mark.parametrize("block", [(1, 1, 5, 4), (1, 4, 5, 4), (1, 1, 20, 20)], ids=str)
def test_counts_what_it_paints(draw, block):
    mask = BlockMask((3, 4, 20, 20), block, 0.1, 3)
    mask = mask._replace(intensity=6 / math.prod(mask.cells))  # six hits on average
    for before in (None, torch.channels_last):
        blocks = draw(mask)
        if before:  # what is remembered of one memory layout does not serve another
            zeroed(blocks, torch.ones(mask.shape).contiguous(memory_format=before))
        assert blocks.count() == int(painted(mask, draw).sum()) > 0


FEW = BlockMask((2, 16, 64, 64), (1, 1, 7, 7), 0.003, 0)
MANY = BlockMask((2, 16, 64, 64), (1, 1, 1, 1), 0.7, 0)


@pytest.mark.parametrize(
    ("mask", "draw"), [(FEW, SparseBlocks), (MANY, densely)], ids=["few", "many"]
)
def test_draws_the_cheaper_way(mask, draw):
    assert draws_sparse(mask.shape, mask.block, mask.intensity) == (draw is SparseBlocks)
    assert torch.equal(painted(mask), painted(mask, draw))


GOLDEN = {
    "(1, 1, 7, 7) 16 sparse": "189b266c4094",
    "(1, 1, 7, 7) 40 sparse": "22dd43729cc6",
    "(1, 3, 2, 5) 16 sparse": "8782b2bd0200",
    "(1, 3, 2, 5) 40 sparse": "7e8095dcde94",
    "(1, 1, 1, 1) 16 dense": "d94f8e0baa60",
    "(1, 1, 1, 1) 40 dense": "2b1b9e4b75a6",
}


def test_a_seed_means_one_mask_on_every_cpu():
    """Golden: changing how masks are drawn, or which draw draws, changes users' experiments."""
    found = {}
    for block, intensity in [((1, 1, 7, 7), 0.003), ((1, 3, 2, 5), 0.05), ((1, 1, 1, 1), 0.7)]:
        for size in (16, 40):
            mask = BlockMask((2, 3, size, size), block, intensity, 12345)
            pixels = painted(mask).to(torch.uint8).numpy().tobytes()
            way = "sparse" if draws_sparse(mask.shape, block, intensity) else "dense"
            found[f"{block} {size} {way}"] = hashlib.sha256(pixels).hexdigest()[:12]
    assert found == GOLDEN


@BOTH_WAYS
def test_the_number_of_seeds_varies_as_independent_cells_do(draw):
    """Binomial: mean and variance over 600 draws within 6 standard errors."""
    cells, intensity, draws = 2000, 0.05, 600
    counts = [
        float(painted(BlockMask((cells,), (1,), intensity, s), draw).sum()) for s in range(draws)
    ]
    gamma = 1 - math.exp(-intensity)
    variance = cells * gamma * (1 - gamma)
    assert abs(np.mean(counts) - cells * gamma) < 6 * math.sqrt(variance / draws)
    assert abs(np.var(counts) / variance - 1) < 6 * math.sqrt(2 / draws)


@BOTH_WAYS
def test_threads_draw_the_masks_of_their_own_seeds(draw):
    masks = [BlockMask((2, 3, 64, 64), (1, 1, 5, 4), 0.01, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as threads:
        for one, other in zip(masks, threads.map(lambda m: painted(m, draw), masks), strict=True):
            assert torch.equal(painted(one, draw), other)


@BOTH_WAYS
def test_every_cell_is_hit_as_often(draw):
    draws, intensity = 3000, 0.4
    hits = sum(painted(BlockMask((2, 3), (1, 1), intensity, seed), draw) for seed in range(draws))
    gamma = 1 - math.exp(-intensity)
    deviation = math.sqrt(gamma * (1 - gamma) / draws)
    assert ((hits / draws - gamma).abs() < 6 * deviation).all()


@BOTH_WAYS
def test_rates_between_two_bytes_are_met(draw):
    cells, gamma = 1_000_000, 0.5 / 256
    hits = painted(BlockMask((cells,), (1,), -math.log1p(-gamma), 1), draw).sum()
    assert abs(hits - cells * gamma) < 6 * math.sqrt(cells * gamma)
