"""Stochastic depth: which samples are dropped, what is done to the others, and its place in blocks.

What other libraries' layers give was recorded from torchvision 0.28.0 and timm 1.0.31: all outputs
that occur in 200 calls on two samples.
"""

import copy
import importlib
import pickle
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from contract_rows import bytes_saved, image, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchattn_blocks import (
    RSAB,
    DropBlock2d,
    DropSchedule,
    PreActResidual,
    SpatialAttention,
    StochasticDepth,
    UNet,
    monte_carlo,
    report,
    residual_stage,
    rsan,
    rsan_stage,
)
from torchattn_blocks.functional import stochastic_depth

X = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
BOTH, FIRST, LAST, NONE = (
    [[1.25, -2.5], [3.75, 5.0]],
    [[1.25, -2.5], [0.0, 0.0]],
    [[0.0, 0.0], [3.75, 5.0]],
    [[0.0, 0.0], [0.0, 0.0]],
)
RECORDED = {  # at p = 0.2
    "torchvision row": [BOTH, FIRST, LAST, NONE],
    "torchvision batch": [BOTH, NONE],
    "timm DropPath": [BOTH, FIRST, LAST, NONE],
}


def outputs(call, times=200):
    """All outputs that occur, without the signs of zeros."""
    torch.manual_seed(0)
    return {tuple((call(X) + 0.0).flatten().tolist()) for _ in range(times)}


def flat(rows):
    return {tuple(x for sample in row for x in sample) for row in rows}


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_outputs_are_those_of_other_libraries(mode):
    expected = flat(RECORDED[f"torchvision {mode}"])
    assert outputs(StochasticDepth(0.2, mode)) == expected
    assert outputs(lambda x: stochastic_depth(x, 0.2, mode, True)) == expected
    if mode == "row":
        assert expected == flat(RECORDED["timm DropPath"])


def test_what_is_recorded_is_what_the_libraries_give(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    importlib.import_module("libraries")  # prepares torchvision
    vision, timm = pytest.importorskip("torchvision"), pytest.importorskip("timm")
    layers = {
        "torchvision row": vision.ops.StochasticDepth(0.2, "row"),
        "torchvision batch": vision.ops.StochasticDepth(0.2, "batch"),
        "timm DropPath": timm.layers.DropPath(0.2),
    }
    assert {name: outputs(layer) for name, layer in layers.items()} == {
        name: flat(rows) for name, rows in RECORDED.items()
    }


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    p=st.floats(0.05, 0.95),
    mode=st.sampled_from(["row", "batch"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_whole_samples_of_any_shape(shape, p, mode, seed):
    torch.manual_seed(seed)
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    y = StochasticDepth(p, mode)(x)
    assert y.shape == x.shape
    kept = (y / x * (1 - p)).reshape(len(x), -1)
    decided = kept.round()
    torch.testing.assert_close(kept, decided)
    assert decided.unique().tolist() in ([0], [1], [0, 1])
    assert (decided == decided[:, :1]).all()
    if mode == "batch":
        assert (decided == decided[0]).all()


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_a_sample_is_kept_as_often_as_asked(p):
    torch.manual_seed(0)
    draws = 40_000
    kept = (stochastic_depth(torch.ones(draws, 1), p) != 0).double().mean().item()
    deviation = (p * (1 - p) / draws) ** 0.5
    assert abs(kept - (1 - p)) < 4 * deviation
    layer = StochasticDepth(p, "batch")
    times = 4000
    kept = sum((layer(torch.ones(2, 1)) != 0).all().item() for _ in range(times)) / times
    assert abs(kept - (1 - p)) < 4 * (p * (1 - p) / times) ** 0.5


def test_neighbouring_samples_are_independent():
    torch.manual_seed(0)
    kept = stochastic_depth(torch.ones(40_000), 0.5) != 0
    alike = (kept[1:] == kept[:-1]).double().mean().item()
    assert abs(alike - 0.5) < 0.01


@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_and_everything(inplace):
    assert StochasticDepth(1)(torch.ones(3)).tolist() == [0, 0, 0]
    x = image()
    for layer in (StochasticDepth(0.0, inplace=inplace), StochasticDepth(0.9).eval()):
        assert layer(x) is x
    assert stochastic_depth(x, 0.5, training=False) is x
    for mode in ("row", "batch"):
        y = stochastic_depth(x.clone(), 1, mode, inplace=inplace)
        assert torch.equal(y, torch.zeros_like(x))


def test_in_place_writes_into_the_input():
    x = torch.ones(64, 3)
    y = seeded(StochasticDepth(0.5, inplace=True), x)
    assert y is x
    assert torch.equal(x, seeded(StochasticDepth(0.5), torch.ones(64, 3)))
    assert x.unique().tolist() == [0, 2]


def test_a_generator_decides_and_torchs_own_does_not_move():
    generator = torch.Generator().manual_seed(3)
    before = torch.get_rng_state()
    first = stochastic_depth(torch.ones(64), 0.5, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    again = stochastic_depth(torch.ones(64), 0.5, generator=generator.manual_seed(3))
    assert torch.equal(first, again)
    assert first.unique().tolist() == [0, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_gradient(dtype):
    x = torch.ones(32, 4, dtype=dtype, requires_grad=True)
    y = seeded(StochasticDepth(0.25), x)
    assert y.dtype == dtype
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(gradient, y)
    torch.testing.assert_close(y.max().item(), 4 / 3, rtol=5e-3, atol=0)


def test_the_backward_pass_holds_a_number_for_each_sample():
    x = torch.randn(8, 16, 9, 9, requires_grad=True)
    assert bytes_saved(StochasticDepth(0.5), x) == [8 * 4]
    assert bytes_saved(StochasticDepth(0.5, "batch"), x) == [4]


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_compiled_code_takes_batches_of_any_size(mode):
    torch._dynamo.reset()
    layer = StochasticDepth(0.5, mode)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for samples in (64, 48, 31):
        x = torch.ones(samples, 2)
        assert torch.equal(seeded(compiled, x), seeded(layer, x))
    size = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(layer, (torch.ones(64, 2),), dynamic_shapes=(size,))
    x = torch.ones(40, 2)
    assert torch.equal(seeded(program.module(), x), seeded(layer, x))


def test_a_block_in_place_leaves_the_output_of_its_attention():
    attention = {"attention": lambda channels: nn.Sequential(SpatialAttention(), nn.ReLU())}
    block = RSAB(8, **attention, drop_path=StochasticDepth, inplace=True)
    block(torch.randn(2, 8, 6, 6)).sum().backward()


def test_a_leaf_is_not_written_into():
    x = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        stochastic_depth(x, 0.5, inplace=True)


def test_compiled_code_takes_any_rate():
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    layer = StochasticDepth(0.5)
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    for p in (0.5, 0.3, 1.0, 0.0):
        layer.p = p
        y = seeded(compiled, torch.ones(64, 2))
        assert torch.equal(y, seeded(layer, torch.ones(64, 2)))
        assert y.isfinite().all()
    assert counter.frame_count == 1
    by_tensor = torch.compile(stochastic_depth, backend="aot_eager", fullgraph=True)
    for p in (0.3, 1.0):
        y = seeded(by_tensor, torch.ones(64, 2), torch.tensor(p))
        assert torch.equal(y, seeded(stochastic_depth, torch.ones(64, 2), p))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
def test_the_gradient_of_code_by_inductor_is_of_the_samples_it_kept():
    torch._dynamo.reset()
    compiled = torch.compile(nn.Sequential(nn.Linear(3, 3), StochasticDepth(0.5)), fullgraph=True)
    for _ in range(3):
        x = torch.randn(64, 3, requires_grad=True)
        y = compiled(x)
        (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
        kept = (y != 0).any(1)
        assert torch.equal((gradient != 0).any(1), kept)
        assert 0 < kept.sum() < 64


def test_a_function_is_recorded_by_fx():
    traced = torch.fx.symbolic_trace(lambda x: stochastic_depth(x, 0.5, "row"))
    assert [n.target for n in traced.graph.nodes if n.op == "call_function"] == [stochastic_depth]
    assert torch.equal(seeded(traced, X), seeded(stochastic_depth, X, 0.5))


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: StochasticDepth(1.5), r"StochasticDepth: p must lie in \[0, 1\], go"),
        (TypeError, lambda: StochasticDepth("0.1"), "StochasticDepth: p must be a number or"),
        (
            ValueError,
            lambda: StochasticDepth(0.1, "sample"),
            r"StochasticDepth: mode must be one of \('row', 'batch'\), got 'sample'",
        ),
        (
            TypeError,
            lambda: StochasticDepth(0.1, "row", True),
            "StochasticDepth: options must be given by name: write inplace=True",
        ),
        (ValueError, lambda: stochastic_depth(X, -1), r"stochastic_depth: p must lie in \[0, 1\]"),
        (
            ValueError,
            lambda: stochastic_depth(X, 0.1, "column"),
            r"stochastic_depth: mode must be one of \('row', 'batch'\), got 'column'",
        ),
        (
            ValueError,
            lambda: stochastic_depth(X, torch.tensor(0.1, requires_grad=True)),
            "stochastic_depth: p must not require a gradient: none is computed for it",
        ),
        (
            ValueError,
            lambda: stochastic_depth(torch.tensor(1.0), 0.1),
            r"stochastic_depth: x must have one dimension or more \(N, ...\), got shape \(\)",
        ),
        (
            TypeError,
            lambda: StochasticDepth()(torch.ones(2, dtype=torch.int64)),
            r"stochastic_depth: x must be a floating-point tensor, got torch\.int64",
        ),
        (
            TypeError,
            lambda: StochasticDepth()([1.0]),
            "stochastic_depth: x must be a floating-point tensor, got list",
        ),
    ],
)
def test_bad_arguments(error, call, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("make", [PreActResidual, RSAB])
def test_a_block_drops_its_branch(make):
    block = make(4, drop=None, drop_path=lambda: StochasticDepth(0.5))
    x = torch.randn(64, 4, 6, 5)
    y = seeded(block, x)
    kept = (seeded(StochasticDepth(0.5), torch.ones(64)) != 0).view(-1, 1, 1, 1)
    branch = block.branch(x) if make is PreActResidual else block.attention(block.branch(x))
    torch.testing.assert_close(y, torch.where(kept, x + 2 * branch, x))
    assert 0 < kept.sum() < 64
    x = torch.randn(2, 4, 6, 5)
    plain = make(4, drop=None).eval()
    plain.load_state_dict(block.state_dict())  # the same keys
    torch.testing.assert_close(block.eval()(x), plain(x))


def test_a_block_whose_channels_change_keeps_its_shortcut():
    block = PreActResidual(3, 5, drop=None, drop_path=lambda: StochasticDepth(1.0))
    x = image()
    assert torch.equal(block(x), block.shortcut(x))


@pytest.mark.parametrize("memory_efficient", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_options_of_a_block_do_not_change_what_it_computes(inplace, memory_efficient):
    options = {"inplace": inplace, "memory_efficient": memory_efficient}
    found = []
    for chosen in ({}, options):
        torch.manual_seed(0)
        block = RSAB(3, drop=None, drop_path=lambda: StochasticDepth(0.5), **chosen)
        assert not block.drop_path.inplace  # what comes before it is not always a convolution
        x = image(8, 3, 6, 5).requires_grad_()
        y = seeded(block, x)
        y.square().sum().backward()
        found.append((y, x.grad, *[p.grad for p in block.parameters()]))
    torch.testing.assert_close(*found)


def test_stages_and_presets():
    def deep():
        return StochasticDepth(0.2)

    for make in (residual_stage, rsan_stage):
        model = UNet(3, 1, widths=(4, 6), stage=make(drop_path=deep))
        layers = [m for m in model.modules() if isinstance(m, StochasticDepth)]
        assert len(layers) == 3 * 2
        plain = UNet(3, 1, widths=(4, 6), stage=make())
        assert plain.state_dict().keys() == model.state_dict().keys()
    assert not any(isinstance(m, StochasticDepth) for m in rsan().modules())
    with pytest.raises(TypeError, match="RSAB: drop_path must be a function that takes no argume"):
        RSAB(3, drop_path=StochasticDepth(0.1))


@pytest.mark.parametrize("make", [lambda: PreActResidual(3, 4), lambda: RSAB(3), rsan])
def test_blocks_that_were_pickled_before_there_was_a_drop_path(make):
    model = make().eval()
    old = copy.deepcopy(model)
    for module in old.modules():
        module._modules.pop("drop_path", None)
    loaded = pickle.loads(pickle.dumps(old))
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(x), model(x))


def test_tools_know_it():
    block = RSAB(3, drop=None, drop_path=lambda: StochasticDepth(0.5))
    torch.manual_seed(0)
    with report(block) as used:
        for _ in range(8):
            block(image(64, 3, 4, 4))
    (use,) = [use for use in used.layers if use.kind == "dropout"]
    assert (use.name, use.layer, use.p, use.calls) == ("drop_path", "StochasticDepth", 0.5, 8)
    assert 0.4 < use.kept < 0.6
    block.eval()
    x = image(64, 3, 4, 4)
    with monte_carlo(block):
        assert not torch.equal(block(x), block(x))
    assert torch.equal(block(x), block(x))


def rates(net, **options):
    return DropSchedule(net, **{"start": 0.0, "stop": None, "steps": 4, **options}).get_last_p()


def test_a_schedule_over_depth():
    net = nn.Sequential(*[RSAB(2, drop_path=lambda: StochasticDepth(0.4)) for _ in range(4)])
    depth = {"where": StochasticDepth, "over_depth": True}
    expected = [0.1, 0.2, 0.3, 0.4]
    assert rates(net, start=0.4, stop=0.4, **depth) == pytest.approx(expected)
    blocks = [m.p for m in net.modules() if isinstance(m, DropBlock2d)]
    assert blocks == [0.15] * 8
    schedule = DropSchedule(net, 0.0, None, 2, **depth)  # their own rates, times their depth
    assert schedule.get_last_p() == [0] * 4
    schedule.step()
    assert schedule.get_last_p() == pytest.approx([0.05, 0.1, 0.15, 0.2])
    state = schedule.state_dict()
    assert state["stops"] == [0.4] * 4
    resumed = DropSchedule(net, 0.0, None, 2, **depth)
    resumed.load_state_dict(state)
    resumed.step()
    assert resumed.get_last_p() == pytest.approx(expected)
    assert resumed.get_last_p()[-1] == 0.4
    assert [m.own_p for m in net.modules() if isinstance(m, StochasticDepth)] == [0.4] * 4


def test_without_where_a_schedule_moves_all_layers_of_the_library():
    net = RSAB(2, drop_path=lambda: StochasticDepth(0.4))
    assert rates(net, start=0.3, stop=0.3) == [0.3] * 3
    assert rates(net, start=0.3, stop=0.3, over_depth=True) == pytest.approx([0.1, 0.2, 0.3])
    assert rates(net, start=0.2, where=[None]) == [0.2] * 3
    with pytest.raises(TypeError, match="DropSchedule: over_depth must be a bool, got str"):
        rates(net, over_depth="linear")
