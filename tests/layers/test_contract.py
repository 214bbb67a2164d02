"""One contract for every layer, block and network: what torch's own layers do under users' tools.

Adding a layer is adding a row to `contract_rows.py`. What is a layer's alone stands in a file of
its own. What costs seconds runs for one row of each family or layer, for the others by
`pytest -m slow`.
"""

import copy
import gc
import itertools
import pickle
import weakref

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from contract_rows import (
    ROWS,
    SMALL,
    both_modes,
    every_row,
    has_batch_norm,
    has_layer_norm,
    image,
    is_random,
    made,
    one_row_a_family,
    seeded,
    varies,
    without_running_statistics,
)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from torchattn_blocks import (
    BAM,
    ChannelAttention,
    DropBlock2d,
    SpatialAttention,
    layers,
    models,
    rsan,
)
from torchattn_blocks.functional import drop_block2d, spatial_attention
from torchattn_blocks.layers._dropping import Dropping
from torchattn_blocks.layers.drop_block import DropBlock

# torch's own, of forward-mode automatic differentiation and of linearize
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*insert a get_attr Node:UserWarning"),
]


@every_row
@both_modes
@pytest.mark.parametrize("shape", [(2, 3, 12, 10), (0, 3, 6, 6), (2, 3, 1, 1), (1, 3, 7, 21)])
def test_shape(row, training, shape):
    layer = made(row, training=training)
    if shape[0] == 0 and has_batch_norm(row):
        layer.eval()  # torch's batch normalisation takes no empty batch in training
    if shape[0] == 1 and isinstance(layer, BAM):
        layer.eval()  # nor one sample, which has no spread: test_attention_family.py
    x = row.image(*shape)
    assert layer(x).shape == row.out_shape(x)


@every_row
@both_modes
def test_input_is_untouched_and_memory_does_not_matter(row, training):
    layer, x = made(row, training=training), row.image()
    before = x.clone()
    expected = seeded(layer, x)
    assert torch.equal(x, before)
    strided = torch.stack([x, x], -1)[..., 0]
    assert not strided.is_contiguous()
    torch.testing.assert_close(seeded(layer, strided), expected)
    last = x.contiguous(memory_format=row.channels_last)
    y = seeded(layer.to(memory_format=row.channels_last), last)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    if row.out_channels > 1:
        assert y.is_contiguous(memory_format=row.channels_last)


class Textbook(nn.Module):
    """A layer of ours as the textbook writes it, in torch's functions and the input's dtype."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.layer, DropBlock):
            return x * self.layer(torch.ones_like(x, dtype=torch.float64)).to(x.dtype)
        if isinstance(self.layer, ChannelAttention):
            values = x.flatten(2)
            logits = self.layer.excite(values.max(2).values) + self.layer.excite(values.mean(2))
            return x * torch.sigmoid(logits.reshape(*x.shape[:2], *[1] * (x.dim() - 2)))
        summary = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.layer.norm(self.layer.conv(summary)))


def in_textbook_form(layer: nn.Module) -> nn.Module:
    if isinstance(layer, DropBlock | SpatialAttention | ChannelAttention):
        return Textbook(layer)
    for name, child in layer.named_children():
        setattr(layer, name, in_textbook_form(child))
    return layer


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_errors_of_rounding_are_those_of_the_textbook_form(row, dtype):
    exact = seeded(made(row, dtype=torch.float64), row.image(dtype=torch.float64))
    x = row.image().to(dtype)
    ours = seeded(made(row, dtype=dtype), x.clone())
    theirs = seeded(in_textbook_form(made(row, dtype=dtype)), x.clone())
    assert ours.dtype == dtype
    error, allowed = ((y.double() - exact).abs().max() for y in (ours, theirs))
    assert error <= 2 * allowed < 0.2 * exact.abs().max()


@every_row
def test_autocast(row):
    exact = seeded(made(row), row.image())
    with torch.autocast("cpu", torch.bfloat16):
        y = seeded(made(row), row.image())
    assert (y - exact).abs().max() < 0.1 * exact.abs().max()


@every_row
def test_gradients_in_both_modes(row):
    layer = without_running_statistics(made(row, dtype=torch.float64))
    x = row.image(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: seeded(layer, x),
        x,
        check_forward_ad=True,
        check_batched_grad=True,
        fast_mode=True,
    )
    assert torch.autograd.gradgradcheck(
        lambda x: seeded(layer, x), x, check_fwd_over_rev=True, fast_mode=True
    )


@every_row
def test_torch_func(row):
    layer = without_running_statistics(made(row, dtype=torch.float64))
    x = row.image(2, 3, 6, 5, dtype=torch.float64)

    def loss(x):
        return layer(x).square().sum()

    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(seeded(loss, leaf), leaf)
    torch.testing.assert_close(seeded(torch.func.grad(loss), x), expected)
    _, tangent = seeded(lambda: torch.func.jvp(loss, (x,), (torch.ones_like(x),)))
    torch.testing.assert_close(tangent, expected.sum())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        tangent = forward_ad.unpack_dual(seeded(loss, dual)).tangent
    torch.testing.assert_close(tangent, expected.sum())
    stacked = torch.stack([x] * 12)
    per_sample = torch.func.vmap(torch.func.grad(loss), randomness="different")(stacked)
    assert per_sample.shape == stacked.shape
    assert torch.equal(per_sample, per_sample[:1].expand_as(per_sample)) == (not is_random(layer))
    same = seeded(torch.func.vmap(torch.func.grad(loss), randomness="same"), stacked)
    torch.testing.assert_close(same, torch.stack([expected] * 12))


@one_row_a_family("unet")
def test_linearize(row):
    layer = without_running_statistics(made(row, dtype=torch.float64))
    x = row.image(2, 3, 6, 5, dtype=torch.float64)
    t = torch.ones_like(x)
    y, linear = seeded(torch.func.linearize, layer, x)
    assert torch.equal(y, seeded(layer, x.clone()))
    _, expected = seeded(lambda: torch.func.jvp(layer, (x,), (t,)))
    # The linear function draws again whenever it is called, as it does for torch's dropouts.
    torch.testing.assert_close(seeded(linear, t), expected)


COMPILED_TRANSFORMS = {"DropBlock2d", "CBAM", "ConcurrentSqueezeExcite", "AttentionGate"}
SLOW = pytest.mark.slow


def by_dual_numbers(f, x, t):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, t))).tangent


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.name, marks=() if row.name in COMPILED_TRANSFORMS else SLOW)
        for row in ROWS
        if not (has_batch_norm(row) or has_layer_norm(row))  # torch's fail there
    ],
)
@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, x, t: torch.func.grad(f)(x),
        lambda f, x, t: torch.func.jvp(f, (x,), (t,))[1],
        lambda f, x, t: torch.func.vmap(torch.func.grad(f), randomness="same")(x[None])[0],
        by_dual_numbers,
    ],
    ids=["grad", "jvp", "vmap of grad", "dual numbers"],
)
def test_torch_func_inside_compiled_code(row, derivative):
    torch._dynamo.reset()
    layer = made(row, dtype=torch.float64)
    x, t = row.image(2, 3, 6, 5, dtype=torch.float64), row.image(2, 3, 6, 5, dtype=torch.float64)

    def of_loss(x, t):
        return derivative(lambda x: layer(x).square().sum(), x, t)

    compiled = torch.compile(of_loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(seeded(compiled, x, t), seeded(of_loss, x, t))


@one_row_a_family("unet")  # whose stages are the smallest; RSAB holds every layer
def test_compiles_whole_and_once_for_all_sizes(row):
    torch._dynamo.reset()
    layer = made(row)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, fullgraph=True, dynamic=True)
    compiled(row.image().requires_grad_())
    # Some of torch's normalisations are compiled twice: one counts its calls in a 0-d tensor.
    times = 1 + (has_batch_norm(row) or has_layer_norm(row))
    assert counter.frame_count == times
    for size in ((9, 14), (16, 8), (31, 5)):
        found = []
        for run in (compiled, layer):
            x = row.image(2, 3, *size).requires_grad_()
            y = seeded(run, x)
            y.square().sum().backward()
            found.append((y, x.grad))
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
    assert counter.frame_count == times


@every_row
def test_exports_for_all_sizes(row):
    layer = made(row, training=False)
    program = torch.export.export(layer, (row.image(),), dynamic_shapes=(row.any_size,))
    for shape in ((2, 3, 12, 10), (2, 3, 9, 15)):
        torch.testing.assert_close(program.module()(row.image(*shape)), layer(row.image(*shape)))


@every_row
def test_traces_with_fx(row):
    layer = made(row)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    names = [n.target for n in traced.graph.nodes if n.op == "call_module"]
    drops = [name for name in names if isinstance(traced.get_submodule(name), Dropping)]
    assert len(drops) == sum(isinstance(m, Dropping) for m in layer.modules())
    traced.eval()
    layer.eval()
    for shape in ((2, 3, 12, 10), (1, 3, 9, 15)):
        torch.testing.assert_close(traced(row.image(*shape)), layer(row.image(*shape)))
    x = row.image(2, 3, 40, 40)
    for graph in (traced, torch.fx.symbolic_trace(layer.train())):
        graph.train()
        assert varies(lambda graph=graph: graph(x)) == is_random(layer)


@every_row
@both_modes
def test_devices_without_data(row, training):
    shape, expected = row.image().shape, row.out_shape(row.image())
    layer = made(row, training=training).to("meta")
    assert layer(torch.empty(shape, device="meta")).shape == expected
    with FakeTensorMode():
        y = row.make().train(training)(torch.rand(shape, requires_grad=True))
        y.sum().backward()
        assert y.shape == expected
    with torch.device("meta"):
        assert row.make()(torch.rand(shape)).shape == expected


@every_row
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(row, copied):
    layer = made(row)
    other = copied(layer)
    assert repr(other) == repr(layer)
    assert torch.equal(seeded(other, row.image()), seeded(layer, row.image()))
    fresh = row.make()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh.eval()(row.image()), layer.eval()(row.image()))
    for module in other.modules():  # what a copy resets is its own
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert all(
        torch.equal(a, b) for a, b in zip(layer.parameters(), made(row).parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_shallow_copy_of_a_convolution_is_whole(copied):
    conv = copy.copy(SpatialAttention().conv)  # the original is gone
    other = copied(conv)
    with torch.no_grad():
        other.weight.fill_(5.0)
    other.reset_parameters()
    assert other.weight.abs().max() < 5


@every_row
def test_a_deleted_layer_is_freed_at_once(row):
    layer = made(row)
    layer(row.image().requires_grad_()).sum().backward()
    watched = [weakref.ref(module) for module in layer.modules()]
    gc.disable()
    try:
        del layer
        assert [w() for w in watched if w() is not None] == []
    finally:
        gc.enable()


@every_row
def test_full_backward_hooks(row):
    layer, seen = made(row), []
    for module in layer.modules():
        module.register_full_backward_hook(lambda module, *_: seen.append(module))
    layer(row.image().requires_grad_()).sum().backward()
    assert set(seen) == {m for m in layer.modules() if not isinstance(m, nn.ModuleList)}


@every_row
def test_children_are_called_and_outputs_are_not_overwritten(row):
    layer, kept = made(row), {}
    for name, module in layer.named_modules():
        module.register_forward_hook(lambda m, x, y, name=name: kept.update({name: twice(y)}))
    layer(row.image())
    called = {n for n, m in layer.named_modules() if not isinstance(m, nn.ModuleList)}
    assert set(kept) == called
    assert [
        name
        for name, pairs in kept.items()
        if not all(torch.equal(now, then) for now, then in pairs)
    ] == []


def twice(output):
    """Each tensor of an output, and a copy of it."""
    tensors = output if isinstance(output, tuple) else (output,)
    return [(one, one.clone()) for one in tensors]


@every_row
@pytest.mark.parametrize("order", [1, -1], ids=["parents first", "parents last"])
def test_reset_parameters_restarts_as_built(row, order):
    torch.manual_seed(0)
    layer = row.make().to("meta").to_empty(device="cpu")
    reset, built = [], []
    numbers = sum(p.numel() for p in layer.parameters())
    for _ in range(max(50, 2000 // max(numbers, 10))):  # a spread needs many numbers
        for module in list(layer.modules())[::order]:
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        reset.append([p.detach().clone() for p in layer.parameters()])
        built.append([p.detach() for p in row.make().parameters()])
    names = [name for name, _ in layer.named_parameters()]
    for name, *pair in zip(names, zip(*reset, strict=True), zip(*built, strict=True), strict=True):
        value, expected = map(torch.stack, pair)
        if expected.unique().numel() == 1:  # zeros, or a normalisation's ones
            assert torch.equal(value, expected), name
        else:
            assert value.std().item() == pytest.approx(expected.std().item(), rel=0.3), name


@every_row
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing(row, use_reentrant):
    layer = made(row)
    grads = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=use_reentrant)):
        x = row.image().requires_grad_()
        seeded(run, x).square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads)


@one_row_a_family("unet")
def test_inference_mode_leaves_nothing_behind(row):
    torch._dynamo.reset()
    with torch.inference_mode():
        layer = copy.deepcopy(made(row).eval())
        for module in layer.modules():
            if isinstance(module, Dropping):
                module.p = 0.2
        layer(row.image())
    trained = row.make()
    with torch.inference_mode():
        trained.eval()(row.image())
        for module in trained.modules():
            if isinstance(module, Dropping):
                module.p = 0.2
    for run in (trained.train(), torch.compile(trained, backend="aot_eager", fullgraph=True)):
        run(row.image().requires_grad_()).sum().backward()


@every_row
def test_bad_input(row):
    layer = made(row)
    name = row.name.partition("-")[0]
    owner = name if name[0].isupper() else "UNet"
    owner = owner.replace("DropBlock", "drop_block")
    x = row.image()
    with pytest.raises(ValueError, match=f"{owner}: (x|gate) must have {x.dim()} dimensions"):
        layer(x[0, 0])
    with pytest.raises(TypeError, match=f"{owner}: (x|gate) must be a floating-point tensor, got"):
        layer(np.ones(x.shape))
    with pytest.raises(TypeError, match=rf"{owner}: (x|gate) must be .*, got torch\.int64"):
        layer(x.to(torch.int64))


def test_every_public_layer_has_a_row():
    made_by_rows = {type(row.make()).__name__ for row in ROWS} | {row.name for row in ROWS}
    stages = {"plain_stage", "residual_stage", "rsan_stage"}
    ups, downs = (
        {"transposed", "upsample", "pixel_shuffle"},
        {"max_pool", "avg_pool", "strided_conv"},
    )
    slots = stages | ups | downs | {"add", "concatenate"}  # tests/models/test_slots.py
    assert made_by_rows >= {*layers.__all__, *models.__all__} - slots - {"DropBlock"}  # the base


def test_in_place_is_the_same_network():
    outputs = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = rsan(**SMALL, inplace=inplace)
        layers = [m for m in model.modules() if hasattr(m, "inplace")]
        assert {m.inplace for m in layers} == {inplace}
        x = image().requires_grad_()
        y = seeded(model, x)
        y.square().sum().backward()
        outputs.append((y, x.grad))
    torch.testing.assert_close(*outputs)


class Tagged(torch.Tensor):
    """A subclass, as users have."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "run",
    [
        lambda f, x: f(x),
        lambda f, x: torch.compile(f, backend="aot_eager", fullgraph=True)(x),
        lambda f, x: torch.jit.trace(f, x.clone(), check_trace=False)(x),
        lambda f, x: make_fx(f)(x.clone())(x),
        lambda f, x: make_fx(f, tracing_mode="symbolic")(x.clone())(x),
        lambda f, x: torch.func.functionalize(f)(x),
        lambda f, x: f(x.as_subclass(Tagged)),
        lambda f, x: torch.func.jvp(f, (x,), (x.clone(),))[0],
    ],
    ids=["eager", "compiled", "jit", "make_fx", "symbolic", "functionalize", "subclass", "jvp"],
)
def test_in_place_writes_into_the_input_whoever_runs_it(run):
    torch._dynamo.reset()
    x = torch.ones(2, 3, 20, 20)
    y = run(lambda x: drop_block2d(x, 0.3, 3, inplace=True), x)
    assert 0.1 < (x == 0).float().mean() < 0.5
    assert torch.equal(x, y.as_subclass(torch.Tensor))


def test_symbolic_and_numpy_sizes():
    model = rsan(np.int64(3), np.int32(1), widths=np.array([4, 6]), block_size=np.int64(3))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert compiled(image()).shape == (2, 1, 12, 10)
    assert torch.export.export(SpatialAttention(kernel_size=np.int64(3)), (image(),))

    class BlockOfAQuarter(nn.Module):
        def forward(self, x):
            return drop_block2d(x, 0.1, x.shape[2] // 4)

    size = {2: torch.export.Dim.DYNAMIC}
    program = torch.export.export(BlockOfAQuarter(), (image(1, 3, 16, 16),), dynamic_shapes=(size,))
    x = image(1, 3, 40, 16)
    expected = seeded(drop_block2d, x, 0.1, 10)
    assert torch.equal(seeded(program.module(), x), expected)
    assert not torch.equal(x, expected)
    assert DropBlock2d(torch.tensor(0.25), np.int64(3)).p == 0.25
    layer = DropBlock2d()
    layer.p = torch.tensor(0.5)
    assert layer.p == 0.5
    assert type(layer.p) is float


def test_a_rate_that_requires_a_gradient_is_refused():
    p = torch.tensor(0.3, requires_grad=True)
    with pytest.raises(ValueError, match="drop_block2d: p must not require a gradient"):
        drop_block2d(image(), p)


def test_functions_are_recorded_by_fx():
    weight = torch.randn(1, 2, 3, 3)
    traced = torch.fx.symbolic_trace(lambda x: drop_block2d(spatial_attention(x, weight), 0.5))
    calls = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert calls == [spatial_attention, drop_block2d]
    assert not torch.equal(traced(image()), traced(image()))


def test_a_mask_is_the_same_eager_and_compiled():
    torch._dynamo.reset()
    layer, x = DropBlock2d(0.1, 3), image(dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(seeded(compiled, x), seeded(layer, x))


@pytest.mark.parametrize("p", [-0.1, 1.2, float("nan")])
def test_compiled_code_checks_a_rate_when_it_runs(p):
    torch._dynamo.reset()
    compiled = torch.compile(drop_block2d, backend="aot_eager", fullgraph=True)
    with pytest.raises(ValueError, match=r"drop_block2d: p must lie in \[0, 1\]"):
        compiled(image(), torch.tensor(p))


@pytest.mark.parametrize("p", [torch.tensor([0.3]), torch.tensor(1)], ids=["shape", "dtype"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_rate_tensor_of_another_kind_is_refused(p, compiled):
    torch._dynamo.reset()
    run = torch.compile(drop_block2d, backend="aot_eager") if compiled else drop_block2d
    with pytest.raises(
        TypeError, match="drop_block2d: p must be a number or a 0-d floating-point tensor"
    ):
        run(image(), p)


def test_a_compiled_transform_keeps_what_the_layer_keeps():
    torch._dynamo.reset()

    def tangent(x, t):
        return torch.func.jvp(lambda x: drop_block2d(x, 0.3, 3), (x,), (t,))

    x = torch.full((2, 4, 20, 20), torch.inf).contiguous(memory_format=torch.channels_last)
    t = torch.full_like(x, torch.nan)
    compiled = torch.compile(tangent, backend="aot_eager", fullgraph=True)
    for y in compiled(x, t):
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert 0.1 < (y == 0).float().mean() < 0.5


def test_vmap_over_nothing_over_other_axes_and_compiled():
    def drop(x):
        return drop_block2d(x, 0.3, 3)

    mapped = torch.vmap(drop, in_dims=1, out_dims=2, randomness="different")
    assert mapped(torch.rand(2, 0, 3, 8, 8)).shape == (2, 3, 0, 8, 8)
    x = torch.ones(2, 4, 3, 20, 20)
    assert mapped(x).shape == (2, 3, 4, 20, 20)
    y = torch.compile(mapped, backend="aot_eager", fullgraph=True)(x)
    assert not torch.equal(y[:, :, 0], y[:, :, 1])


@pytest.mark.parametrize("inplace", [False, True])
def test_derivatives_of_derivatives(inplace):
    x, t, u = (image(2, 3, size, 5, dtype=torch.float64)[..., :4, :] for size in (6, 7, 8))
    options = (0.3, 3, True)

    def drop(x):
        return seeded(lambda: drop_block2d(x, *options, inplace=inplace))

    mask = drop(torch.ones_like(x))

    def f(x):
        return (drop(x * x) * x).sum()  # its second derivative is 6 x mask

    expected = (6 * x * mask * t * u).sum()
    for inner, outer in itertools.product((torch.func.jvp, _by_gradient), repeat=2):
        _, second = outer(lambda x, inner=inner: inner(f, (x,), (t,))[1], (x,), (u,))
        torch.testing.assert_close(second, expected)


def _by_gradient(f, primals, tangents):
    return None, (torch.func.grad(f)(*primals) * tangents[0]).sum()
