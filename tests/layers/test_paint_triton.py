"""The kernel for CUDA, without a GPU: bit against bit under Triton's interpreter, and compiled.

The interpreter takes a tenth of a second for a tile, so the statistics are those of the restatement
in NumPy, which draws the same blocks.
"""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("with a GPU, needs TRITON_INTERPRET=1", allow_module_level=True)
pytest.importorskip("triton", reason="needs Triton: see CONTRIBUTING.md")
# The interpreters of 3.4 and 3.6 ask NumPy for the number in an array, which NumPy 2.4 refuses.
pytest.importorskip("triton", "3.9", reason="needs Triton 3.9 or newer")

from paint_restated import blocks, gap_ticks, hit_cells, philox

from torchattn_blocks.layers._block_mask import covering_cells, exact_intensity
from torchattn_blocks.layers._paint_triton import _TICKS, _tile, write

DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str
)


def expected(x, seed, block, intensity, scale, p, channelwise):
    size = x.shape[-len(block) :]
    planes = x.shape[: -len(block)]
    masks = planes if channelwise else (*planes[:-1], 1)
    dropped = blocks(seed, math.prod(masks), size, block, intensity).view(*masks, *size)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    times = torch.tensor(1.0, dtype=torch.float64)
    if scale == "constant":
        times = times / (1 - p)
    elif scale == "batch":
        times = times * dropped.numel() / max(int((~dropped).sum()), 1)
    elif scale == "position":
        cover = torch.ones(())
        for axis in zip(size, block, strict=True):
            cover = cover[..., None] * torch.from_numpy(covering_cells(*axis))
        exponent = cover.to(wide) * torch.tensor(intensity, dtype=torch.float64).to(wide)
        times = torch.from_numpy(np.exp(exponent.numpy()))
    scaled = x.to(wide) * times.to(wide)
    if x.dtype == torch.bfloat16:  # the interpreter cuts digits off where a GPU rounds
        scaled = (scaled.view(torch.int32) & -(2**16)).view(wide)
    return scaled.to(x.dtype).masked_fill(dropped, 0)


def check(x, block, intensity, scale="constant", channelwise=True, seed=5, out=None):
    wanted = expected(x, seed, block, intensity, scale, 0.3, channelwise)
    out = torch.full_like(x, math.nan) if out is None else out
    write(x, out, torch.tensor(seed), block, intensity, scale, 0.3, channelwise)
    assert torch.equal(out, wanted)
    return out == 0


def values(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


# Bit against bit


@pytest.mark.parametrize(
    ("counter", "key", "random"),
    [
        ("00000000 00000000 00000000 00000000", 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_restatement_draws_what_the_authors_of_philox_publish(counter, key, random):
    found = philox(key, *(int(c, 16) for c in counter.split()))
    assert [int(f) for f in found] == [int(r, 16) for r in random.split()]


SHAPES = {
    "1d": ((2, 3, 20), (3,), 0.1),
    "1d, no batch": ((3, 41), (4,), 0.05),
    "1d, tiles": ((1, 2, 300), (7,), 0.02),
    "1d, a block beyond a tile": ((1, 2, 300), (140,), 0.02),
    "1d, all": ((2, 3, 9), (9,), 0.5),
    "2d": ((2, 2, 5, 7), (2, 3), 0.06),
    "2d, no batch": ((3, 6, 6), (3, 3), 0.1),
    "2d, tiles": ((1, 2, 39, 71), (7, 7), 0.003),
    "2d, as tiles": ((1, 1, 64, 128), (5, 4), 0.003),
    "2d, narrow": ((1, 1, 201, 3), (5, 2), 0.01),
    "2d, wide": ((1, 1, 2, 200), (1, 9), 0.03),
    "2d, a block beyond a tile": ((1, 1, 101, 150), (35, 70), 0.002),
    "2d, all": ((2, 4, 12, 15), (12, 15), 0.5),
    "2d, one row of cells": ((1, 1, 40, 70), (40, 3), 0.02),
    "2d, one element": ((2, 9, 1, 1), (1, 1), 0.4),
    "3d": ((1, 2, 4, 5, 6), (2, 3, 2), 0.05),
    "3d, no batch": ((2, 3, 3, 9), (3, 2, 1), 0.06),
    "3d, few rows": ((1, 2, 2, 3, 7), (1, 2, 2), 0.05),
    "3d, tiles": ((1, 1, 9, 17, 33), (2, 3, 4), 0.002),
    "3d, a block beyond a tile": ((1, 1, 17, 12, 33), (9, 2, 33), 0.02),
    "3d, deep": ((1, 1, 70, 1, 2), (4, 1, 1), 0.03),
    "several rounds": ((1, 2, 6, 7), (1, 1), 2.5),
    "sometimes a second round": ((2, 4, 8, 16), (1, 1), 12 / 128),
}


@pytest.mark.parametrize("case", SHAPES)
def test_sizes_and_blocks(case):
    shape, block, intensity = SHAPES[case]
    dropped = check(values(*shape), block, intensity)
    assert 0 < dropped.sum() < dropped.numel()


@DTYPES
@pytest.mark.parametrize("scale", ["constant", "batch", "position", "none"])
@pytest.mark.parametrize("channelwise", [True, False])
def test_scales_and_dtypes(dtype, scale, channelwise):
    dropped = check(values(2, 3, 7, 9, dtype=dtype), (3, 2), 0.05, scale, channelwise)
    assert (dropped == dropped[:, :1]).all() != channelwise


@pytest.mark.parametrize(
    ("scale", "axes"), [(s, a) for s in ("batch", "position") for a in (1, 3)], ids=str
)
@pytest.mark.parametrize("channelwise", [True, False])
def test_scales_on_other_axes(scale, axes, channelwise):
    size, block = [((35,), (4,)), None, ((3, 5, 6), (2, 2, 3))][axes - 1]
    check(values(3, *size), block, 0.04, scale, channelwise)
    check(values(2, 2, *size), block, 0.04, scale, channelwise)


@pytest.mark.parametrize(("scale", "channelwise"), [("constant", True), ("batch", False)])
def test_memory_layouts(scale, channelwise):
    x = values(2, 3, 6, 9)
    wanted = check(x, (3, 3), 0.03, scale, channelwise)
    for layout in (
        x.contiguous(memory_format=torch.channels_last),
        values(4, 6, 12, 20)[1:3, ::2, ::2, 1:10],
        values(2, 6, 9, 3).permute(0, 3, 1, 2),
        values(9, 6, 3, 2).permute(3, 2, 1, 0),
        torch.tensor(2.0).expand(2, 3, 6, 9),
        values(1, 3, 6, 1).expand(2, 3, 6, 9),
    ):
        for out in (None, torch.full((2, 3, 12, 9), math.nan)[:, :, 1:12:2]):
            assert torch.equal(check(layout, (3, 3), 0.03, scale, channelwise, out=out), wanted)


def test_channels_last_3d_and_nothing_is_written_beside_a_slice():
    x = values(2, 3, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    whole = torch.full((4, 3, 6, 8, 5), 7.0)
    dropped = check(x, (2, 2, 2), 0.03, out=whole[1:3, :, ::2, 1:8:2])
    assert (whole == 7).sum() == whole.numel() - dropped.numel()


@DTYPES
def test_in_place(dtype):
    x = values(2, 2, 6, 40, dtype=dtype)
    before = x.clone()
    write(x, x, torch.tensor(3), (3, 3), 0.02, "batch", 0.3, True)
    assert torch.equal(x, expected(before, 3, (3, 3), 0.02, "batch", 0.3, True))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32, 2**62 + 2**31 + 1, 2**63 - 1])
def test_all_bits_of_a_seed_count(seed):
    dropped = check(values(1, 2, 6, 9), (2, 2), 0.05, seed=seed)
    assert not torch.equal(dropped, check(values(1, 2, 6, 9), (2, 2), 0.05, seed=6))


@pytest.mark.parametrize("scale", ["constant", "batch", "none"])
def test_infinities_are_dropped_and_kept(scale):
    x = torch.tensor([math.inf, -math.inf, math.nan]).repeat(20).view(1, 1, 60)
    out = torch.empty_like(x)
    write(x, out, torch.tensor(2), (2,), 0.2, scale, 0.3, True)
    dropped = expected(torch.ones_like(x), 2, (2,), 0.2, "none", 0.3, True) == 0
    assert 0 < dropped.sum() < 60
    torch.testing.assert_close(out, torch.where(dropped, 0.0, x), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("scale", ["constant", "batch", "none"])
def test_all_dropped_is_zero(scale):
    x = torch.full((2, 2, 4, 5), math.inf)
    out = torch.empty_like(x)
    write(x, out, torch.tensor(2), (4, 5), 36.0, scale, 0.9999, True)
    assert torch.equal(out, torch.zeros_like(x))


def test_a_rate_near_0_drops_nothing():
    for scale in ("constant", "batch", "position", "none"):
        assert not check(values(1, 2, 5, 6), (2, 2), 1e-300, scale).any()


@settings(max_examples=15)
@given(data=st.data())
def test_any_small_shape(data):
    axes = data.draw(st.integers(1, 3))
    size = data.draw(st.lists(st.integers(1, 20), min_size=axes, max_size=axes))
    block = tuple(data.draw(st.integers(1, s)) for s in size)
    intensity = data.draw(st.floats(0.001, 1)) / math.prod(block)
    seed = data.draw(st.integers(0, 2**63 - 1))
    channelwise = data.draw(st.booleans())
    check(values(2, *size), block, intensity, "constant", channelwise, seed)


@given(st.lists(st.integers(1, 2**31), min_size=3, max_size=3))
def test_a_tile_is_small_and_fills_the_rows_of_a_tensor_core(size):
    tile = _tile(size)
    assert all(t & (t - 1) == 0 for t in tile)
    assert tile[2] >= 16
    assert 16 <= math.prod(tile) <= 2048
    assert tile[0] * tile[1] >= 16 or (tile[0] >= size[0] and tile[1] >= size[1])


def test_more_tiles_than_a_grid_holds_are_refused():
    x = torch.zeros(()).expand(2**16, 2**15, 1)
    with pytest.raises(ValueError, match=r"drop_block1d: on CUDA .* 2\^31 tiles"):
        write(x, x, torch.tensor(2), (1,), 0.1, "constant", 0.1, True)


# Statistics, each within 6 standard errors


def assert_near(found, probability, draws):
    deviation = np.sqrt(probability * (1 - probability) / draws)
    assert (np.abs(found - probability) < 6 * deviation).all()


@pytest.mark.parametrize("intensity", [1e-7, 1e-4, 0.01, 0.5, 3.0])
def test_every_cell_is_hit_as_often(intensity):
    bins, cells = (1_000_000, 16) if intensity < 0.1 else (50_000, 16)
    hit = hit_cells(9, np.arange(bins) + 2**32 - 1000, round(intensity * cells * _TICKS), cells)
    gamma = -math.expm1(-intensity)
    assert_near(hit.mean(), gamma, hit.size)
    if bins * gamma > 50:
        assert_near(hit.mean(0), gamma, bins)


def test_tiny_intensities_to_the_tick():
    """Of all random bits, t of 2^32 give a first gap below t ticks."""
    gaps = gap_ticks(np.arange(2**12, dtype=np.uint64))
    for time in (1, 10, 1000):
        assert (gaps < time).sum() == time


def test_gaps_are_exponential_at_all_scales():
    bits = (np.arange(1, 2**16, dtype=np.uint64) << np.uint64(16)) + np.uint64(1)
    gap = -np.log1p(-bits.astype(float) * 2**-32)
    np.testing.assert_allclose(gap_ticks(bits) / _TICKS, gap, rtol=1e-5)
    last = gap_ticks(np.arange(2**32 - 1000, 2**32, dtype=np.uint64))
    assert (last > 0).all()
    assert (last <= 17 * _TICKS).all()


def test_bins_and_cells_are_independent():
    bins, cells, intensity = 100_000, 16, 0.4
    hit = hit_cells(3, np.arange(bins), round(intensity * cells * _TICKS), cells)
    gamma = -math.expm1(-intensity)
    for first, second in (
        (hit[:, 0], hit[:, 1]),
        (hit[:, 3], hit[:, 15]),
        (hit[:-1, 4], hit[1:, 4]),
        (hit[: bins // 2, 4], hit[bins // 2 :, 4]),
        (hit[:, 5], hit_cells(4, np.arange(bins), round(intensity * cells * _TICKS), cells)[:, 5]),
        (hit[:, 5], hit_cells(3 + 2**32, np.arange(bins), round(6.4 * _TICKS), cells)[:, 5]),
    ):
        assert_near((first & second).mean(), gamma**2, len(first))


def test_the_number_of_hit_cells_varies_as_independent_cells_do():
    bins, cells, intensity = 50_000, 16, 0.7
    count = hit_cells(8, np.arange(bins), round(intensity * cells * _TICKS), cells).sum(1)
    gamma = -math.expm1(-intensity)
    assert abs(count.var() / (cells * gamma * (1 - gamma)) - 1) < 6 * math.sqrt(2 / bins)


@pytest.mark.parametrize(
    ("size", "block", "p"),
    [
        ((50,), (7,), 0.2),
        ((14, 14), (7, 7), 0.15),
        ((20, 35), (3, 5), 0.4),
        ((5, 6, 9), (3, 3, 3), 0.2),
    ],
    ids=str,
)
def test_keeps_what_was_asked(size, block, p):
    """Planes are independent, so that they tell how far their mean may lie from what was asked."""
    planes = 1500
    kept = 1 - blocks(7, planes, size, block, exact_intensity(p, size, block)).double().flatten(
        1
    ).mean(1)
    assert abs(kept.mean() - (1 - p)) < 6 * kept.std() / math.sqrt(planes)


def test_every_position_is_kept_as_often_as_the_cells_over_it_say():
    planes, size, block, intensity = 4000, (5, 20), (2, 7), 0.03
    kept = ~blocks(7, planes, size, block, intensity)
    cover = np.multiply.outer(*map(covering_cells, size, block))
    assert_near(kept.double().mean(0).numpy(), np.exp(-intensity * cover), planes)


# Compiled, without a GPU

VARIANTS = {
    f"{dtype} {scale} sm{target}": {"dtype": dtype, "scale": scale, "target": target}
    for dtype in ("fp32", "fp16", "bf16", "fp64")
    for scale, target in (("constant", 80), ("batch", 80), ("position", 80), ("none", 90))
} | {
    "count": {"scale": "batch", "count": True},
    "count, few hits": {"scale": "batch", "count": True, "hits": 16, "target": 90},
    "all channels": {"channelwise": False},
    "channels last": {"last": True},
    "few hits": {"hits": 16},
    "many hits": {"hits": 64},
    "many hits, sm90": {"hits": 64, "target": 90, "dtype": "fp64"},
    "1d": {"tile": (1, 1, 128)},
    "3d": {"tile": (8, 8, 32)},
    "small": {"tile": (1, 16, 16), "last": True},
}

COMPILE = """
import json, pathlib, re, subprocess, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from torchattn_blocks.layers._paint_triton import _drop

def compiled(dtype="fp32", scale="constant", target=80, count=False, channelwise=True, last=False,
             hits=32, tile=(1, 32, 64)):
    names = _drop.arg_names
    fixed = dict(CHANNELWISE=channelwise, SCALE=scale, COUNT=count, CHANNELS_LAST=last, HITS=hits,
                 TILE_D=tile[0], TILE_H=tile[1], TILE_W=tile[2])
    if not last:
        fixed |= dict(stride_w=1, out_w=1)
    if tile[0] == 1:
        fixed |= dict(size_d=1, block_d=1)
    types = dict.fromkeys(names, "i32") | dict.fromkeys(fixed, "constexpr")
    types |= dict(x="*" + dtype, out="*" + dtype, seed="*i64", kept="*i64")
    types |= dict(time="i64", factor="i64", intensity="i64")
    aligned = [n for n in names if n.startswith(("size", "stride", "out", "x")) and n not in fixed]
    return triton.compile(
        ASTSource(
            _drop,
            types,
            {(names.index(name),): value for name, value in fixed.items()},
            {(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
        ),
        target=GPUTarget("cuda", target, 32),
        options=dict(enable_fp_fusion=False),
    )

report = {}
dump = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
for name, variant in json.load(sys.stdin).items():
    assembly = compiled(**variant).asm
    pathlib.Path(sys.argv[1]).write_bytes(assembly["cubin"])
    usage = subprocess.run([dump, "-res-usage", sys.argv[1]], capture_output=True, text=True).stdout
    ptx = assembly["ptx"]
    report[name] = {
        "registers": int(re.search(r"REG:(\\d+)", usage)[1]),
        "spilled": sum(map(int, re.findall(r"(?:STACK|LOCAL):(\\d+)", usage))),
        "tensor cores": ptx.count("mma.sync") + ptx.count("wgmma"),
        "read at once": max(
            int(n or 1) * int(bits)
            for n, bits in re.findall(r"ld[.]global(?:[.]v(\\d))?[.]b(\\d+)", ptx)
        ),
    }
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder)}
    del environment["TRITON_INTERPRET"]
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPILE, folder / "kernel.cubin"],
        input=json.dumps(VARIANTS),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiles_for_gpus(report, variant):
    found = report[variant]
    assert found["tensor cores"] > 0
    assert found["spilled"] == 0
    assert found["registers"] <= 128  # four programs on a multiprocessor, at the least
    if not {"count", "last"} & VARIANTS[variant].keys():
        assert found["read at once"] == 128
