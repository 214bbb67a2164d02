"""`memory_efficient`: less is kept for the backward pass, and everything else is as without it."""

import copy
import gc
import json
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from torchattn_blocks import (
    BAM,
    CBAM,
    RSAB,
    AttentionGate,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    GlobalContext,
    PreActResidual,
    SimAM,
    StochasticDepth,
    TripletAttention,
    UNet,
    plain_stage,
    residual_stage,
    rsan,
    rsan_stage,
    unet,
)
from torchattn_blocks.layers._recipes import ALL
from torchattn_blocks.layers._recompute import Input, Kept, Recipe, View
from torchattn_blocks.models import add, avg_pool, upsample

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from held import allocated

WIDTHS = (4, 6, 8)
SETTINGS = [True, "activations", "stages"]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


def image(*shape, dtype=torch.float32):
    shape = shape or (2, 3, 24, 20)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)


def filled(model):
    """Weights and statistics that differ from layer to layer."""
    torch.manual_seed(5)
    for x in model.parameters():
        nn.init.normal_(x, std=0.3)
    for x in model.buffers():
        if x.is_floating_point():
            nn.init.uniform_(x, 0.1, 0.6)
    return model


def gradients(model, setting, x=None, *, steps=1, amp=False, create_graph=False):
    """What a training step leaves: loss, gradients, buffers."""
    model = copy.deepcopy(model)
    model.memory_efficient = setting
    x = (image() if x is None else x).clone().requires_grad_()
    torch.manual_seed(7)
    found = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            logits = model(x)
        loss = logits.float().square().mean()
        if create_graph:
            (grad,) = torch.autograd.grad(loss, x, create_graph=True)
            loss = loss + grad.square().sum()
        loss.backward()
        found.append(loss.detach())
    found += [x.grad, *(p.grad for p in model.parameters() if p.requires_grad), *model.buffers()]
    return found


def held(model, x):
    """The bytes that a call keeps for the backward pass, without its output."""
    torch.manual_seed(0)
    live, _, out = allocated(lambda: model(x))
    return live - out.untyped_storage().nbytes()


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)  # no gradient
        assert one is None or torch.equal(one, other)


def network(**options):
    stage = options.pop("stage", residual_stage(drop=lambda: nn.Dropout2d(0.1)))
    return UNet(3, 1, widths=WIDTHS, stage=stage, **options)


class OverChannels(nn.Module):
    """A normalisation of one's own, made of torch's functions."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Swish(nn.Module):
    """An activation of one's own, made of torch's functions."""

    def forward(self, x):
        return x * torch.sigmoid(x)


ACTIVATIONS = [
    nn.ReLU,
    nn.RReLU,  # draws random numbers
    nn.PReLU,
    nn.SiLU,
    nn.GELU,
    nn.ELU,
    nn.Mish,
    nn.LeakyReLU,
    nn.Softplus,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.ReLU6,
    nn.CELU,
    nn.SELU,
    nn.LogSigmoid,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softsign,
    nn.Identity,
    Swish,
    partial(nn.ReLU, inplace=True),
    partial(nn.ELU, inplace=True),
    partial(nn.SiLU, inplace=True),
    partial(nn.LeakyReLU, 0.1, True),
    partial(nn.RReLU, inplace=True),
]
NORMS = [
    nn.BatchNorm2d,
    partial(nn.BatchNorm2d, affine=False),
    partial(nn.BatchNorm2d, track_running_stats=False),
    partial(nn.BatchNorm2d, momentum=None),
    partial(nn.GroupNorm, 1),
    nn.InstanceNorm2d,
    partial(nn.InstanceNorm2d, affine=True, track_running_stats=True),
    OverChannels,
    None,
]
NETWORKS = {
    "rsan": lambda: rsan(widths=WIDTHS),
    "in place": lambda: rsan(widths=WIDTHS, inplace=True),
    "unet": lambda: unet(widths=WIDTHS),
    "unet, in place": lambda: unet(widths=WIDTHS, inplace=True),
    "CBAM": lambda: rsan(widths=WIDTHS, attention=CBAM),
    "scSE": lambda: rsan(widths=WIDTHS, attention=ConcurrentSqueezeExcite),
    **{
        layer.__name__: partial(rsan, widths=WIDTHS, attention=layer)
        for layer in (GlobalContext, CoordinateAttention, TripletAttention, BAM, SimAM)
    },
    "drop path": lambda: network(
        stage=rsan_stage(drop_path=lambda: StochasticDepth(0.5), inplace=True)
    ),
    "slots": lambda: network(
        stage=plain_stage(attention=CBAM), skip=AttentionGate, down=avg_pool()
    ),
    "sums": lambda: network(stage=plain_stage(), up=upsample("bilinear"), skip=add()),
    "lazy": lambda: network(stage=rsan_stage(norm=lambda c: nn.LazyBatchNorm2d())),
}


@every_setting
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_trained_as_without(name, setting):
    model = filled(NETWORKS[name]())
    assert_equal(gradients(model, setting, steps=2), gradients(model, False, steps=2))


@every_setting
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations(activation, setting):
    model = network(stage=residual_stage(activation=activation))
    assert_equal(gradients(model, setting), gradients(model, False))


@every_setting
@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("stage", [rsan_stage, plain_stage])
def test_normalisations(stage, norm, setting):
    model = filled(network(stage=stage(norm=norm)))
    assert_equal(gradients(model, setting, steps=2), gradients(model, False, steps=2))
    model.eval()
    assert_equal(gradients(model, setting), gradients(model, False))


@every_setting
def test_frozen_normalisations(setting):
    model = filled(rsan(widths=WIDTHS))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.bias.requires_grad_(False)
    assert_equal(gradients(model, setting), gradients(model, False))
    for norm in norms:
        norm.eval().requires_grad_(False)
    assert_equal(gradients(model, setting), gradients(model, False))


@every_setting
@pytest.mark.parametrize("axes", [1, 3])
def test_other_dimensions(axes, setting):
    model, x = rsan(widths=WIDTHS, spatial_dims=axes), image(2, 3, *(9, 8, 10)[:axes])
    assert_equal(gradients(model, setting, x), gradients(model, False, x))


@every_setting
def test_dtypes_and_memory_formats(setting):
    model = rsan(widths=WIDTHS)
    assert_equal(gradients(model, setting, amp=True), gradients(model, False, amp=True))
    last = image().contiguous(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    assert_equal(gradients(model, setting, last), gradients(model, False, last))
    for dtype in (torch.float64, torch.bfloat16):
        model, x = model.to(dtype), image(dtype=dtype)
        assert_equal(gradients(model, setting, x), gradients(model, False, x))


@every_setting
def test_derivatives_of_derivatives(setting):
    model = rsan(widths=WIDTHS)
    found, expected = (gradients(model, one, create_graph=True) for one in (setting, False))
    assert_equal(found, expected)


def passes(model, setting):
    """Gradients of several backward passes through one graph, some of which end early."""
    model = copy.deepcopy(model)
    model.memory_efficient = setting
    torch.manual_seed(7)
    x = image().requires_grad_()
    loss = model(x).square().mean()
    found = []
    for inputs in (model.decoders[-1].parameters(), [x], model.parameters(), [x]):
        found += torch.autograd.grad(loss, list(inputs), retain_graph=True)
    return found


@every_setting
def test_several_backward_passes(setting):
    model = rsan(widths=WIDTHS)
    assert_equal(passes(model, setting), passes(model, False))


def interleaved(model, setting):
    """Two forward passes, then the backward passes in the same order."""
    model = copy.deepcopy(model)
    model.memory_efficient = setting
    torch.manual_seed(7)
    first, second = (model(image() * scale).square().mean() for scale in (1, 0.5))
    first.backward()
    second.backward()
    return [*(p.grad for p in model.parameters()), *model.buffers()]


@every_setting
def test_two_graphs_at_once(setting):
    model = rsan(widths=WIDTHS)
    assert_equal(interleaved(model, setting), interleaved(model, False))


def calls_of(model, setting):
    """How often each child was called in a training step."""
    model, calls = copy.deepcopy(model), {}

    def count(name, *call):
        calls[name] = calls.get(name, 0) + 1

    for name, child in model.named_modules():
        child.register_forward_hook(partial(count, name))
    model.memory_efficient = setting
    model(image()).sum().backward()
    return calls


@pytest.mark.parametrize("setting", [True, "activations"], ids=str)
def test_children_are_called_once(setting):
    model = network(stage=rsan_stage(norm=partial(nn.GroupNorm, 1), activation=nn.SiLU))
    assert calls_of(model, setting) == calls_of(model, False)


def test_stages_are_called_twice():
    calls = calls_of(rsan(widths=WIDTHS), "stages")
    assert {calls[name] for name in ("encoders.0", "bottleneck", "decoders.1.3")} == {2}
    assert calls["ups.0"] == calls["head"] == 1


@every_setting
def test_hooks_and_parametrizations_act(setting):
    model = rsan(widths=WIDTHS)
    model.decoders[-1][3].register_forward_hook(lambda module, x, y: y * 2)
    model.bottleneck[0].norm1.register_forward_pre_hook(lambda module, x: (x[0] + 1,))
    nn.utils.parametrizations.weight_norm(model.encoders[0][1].conv2)
    nn.utils.parametrizations.weight_norm(model.encoders[0][2], dim=None)
    assert_equal(gradients(model, setting), gradients(model, False))


class WritesIntoInput(nn.Module):
    """A child that overwrites what it is given, once it has been kept."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = self.conv(x)
        with torch.no_grad():
            x.add_(1)
        return y


class WritesBehindNorm(nn.Module):
    """A child that overwrites the input of a normalisation after the activation behind it."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = self.conv(F.relu(self.norm(x)))
        with torch.no_grad():
            x.mul_(2)
        return y


@pytest.mark.parametrize("setting", [True, "activations"], ids=str)  # torch's checkpoint does not
@pytest.mark.parametrize("child", [WritesIntoInput, WritesBehindNorm])
def test_writing_into_what_is_kept_is_noticed(child, setting):
    def stage(in_channels, out_channels):
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), child(out_channels))

    model = network(stage=stage)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(image()).sum().backward()
    model.memory_efficient = setting
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(image()).sum().backward()


def test_weights_changed_before_the_backward_pass_are_noticed():
    model = rsan(widths=WIDTHS, memory_efficient=True)
    loss = model(image()).sum()
    with torch.no_grad():
        model.bottleneck[0].conv1.weight.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: .*\(8, 6, 3, 3\)"):
        loss.backward()


def test_a_bias_changed_before_the_backward_pass_does_not_matter():
    """Torch does not keep the bias of a normalisation; neither do we."""
    model = rsan(widths=WIDTHS, memory_efficient=True)
    expected = gradients(model, True)
    copied = copy.deepcopy(model)
    x = image().requires_grad_()
    torch.manual_seed(7)
    loss = copied(x).square().mean()
    for module in copied.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.add_(1)
    loss.backward()
    assert torch.equal(x.grad, expected[1])


def test_it_steps_aside_where_another_decides():
    model = rsan(widths=WIDTHS)
    expected = gradients(model, False)
    for setting in SETTINGS:
        for ways in ({"use_reentrant": False}, {"use_reentrant": True}):
            copied = copy.deepcopy(model)
            copied.memory_efficient = setting
            x = image().requires_grad_()
            torch.manual_seed(7)
            checkpoint(copied, x, **ways).square().mean().backward()
            assert torch.equal(x.grad, expected[1])
        with torch.autograd.graph.save_on_cpu():
            assert_equal(gradients(model, setting), expected)


@pytest.mark.filterwarnings("ignore:.*of a Tensor that is not a leaf:UserWarning")  # torch's own
@pytest.mark.parametrize("setting", [True, "stages"], ids=str)
def test_compiled_code_decides_itself(setting):
    torch._dynamo.reset()
    model = rsan(widths=WIDTHS)
    expected = gradients(model, False)
    whole = copy.deepcopy(model)
    whole.memory_efficient = setting
    x = image().requires_grad_()
    torch.manual_seed(7)
    compiled = torch.compile(whole, backend="aot_eager", fullgraph=True)
    compiled(x).square().mean().backward()
    torch.testing.assert_close(x.grad, expected[1])
    # A part alone
    part = copy.deepcopy(model)
    part.memory_efficient = setting
    part.bottleneck[1].compile(backend="aot_eager")
    x = image().requires_grad_()
    torch.manual_seed(7)
    part(x).square().mean().backward()
    torch.testing.assert_close(x.grad, expected[1])
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # of torch 2.10
@every_setting
def test_nothing_stays_behind(setting):
    model = rsan(widths=WIDTHS, memory_efficient=setting)
    gc.collect()
    gc.disable()  # what only the collector would free is found, too
    try:
        x = image().requires_grad_()
        model(x).sum().backward()
        y = model(x)
        freed = weakref.ref(x), weakref.ref(y)
        del x, y
        assert [one() for one in freed] == [None, None]
    finally:
        gc.enable()
    live, _, _ = allocated(lambda: model(image()).numel())
    assert live == 0
    with torch.no_grad():
        assert held(model, image()) < 1024
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None


class Fails(nn.Module):
    def forward(self, x):
        raise ArithmeticError("as it must")


def test_an_error_in_a_child_leaves_nothing_behind():
    model = rsan(widths=WIDTHS, memory_efficient=True)
    model.bottleneck.append(Fails())
    with pytest.raises(ArithmeticError):
        model(image())
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    assert not torch._C._len_torch_function_stack()


HELD = {  # of what torch keeps: at most, at 96 x 96
    "rsan": (rsan, {True: 0.43, "activations": 0.58, "stages": 0.23}),
    "unet": (unet, {True: 0.52, "activations": 0.65, "stages": 0.46}),
    "rsan, in place": (partial(rsan, inplace=True), {True: 0.43, "activations": 0.58}),
    "SiLU": (lambda: network(stage=residual_stage(activation=nn.SiLU)), {True: 0.40}),
    "GroupNorm": (
        lambda: network(stage=rsan_stage(norm=partial(nn.GroupNorm, 1))),
        {True: 0.48},
    ),
    "InstanceNorm": (lambda: network(stage=plain_stage(norm=nn.InstanceNorm2d)), {True: 0.6}),
    "activation of one's own": (lambda: network(stage=plain_stage(activation=Swish)), {True: 0.45}),
    "CBAM": (lambda: rsan(attention=CBAM), {True: 0.43}),
    "3-D": (lambda: rsan(spatial_dims=3, widths=WIDTHS), {True: 0.48}),
}


@pytest.mark.parametrize("name", HELD)
def test_the_allocator_counts_less(name):
    make, most = HELD[name]
    model = make()
    x = image(1, 3, *[96, 96, 16][: model.spatial_dims])
    plain = held(model, x)
    for setting, share in most.items():
        model.memory_efficient = setting
        assert held(model, x) < share * plain, setting


def test_the_peak_of_a_step_is_lower():
    model, x = rsan(), image(1, 3, 96, 96)
    peaks = {}
    for setting in (False, *SETTINGS):
        model.memory_efficient = setting
        model.zero_grad()
        _, peaks[setting], _ = allocated(lambda: model(x).square().mean().backward())
    assert peaks["stages"] < peaks[True] < 0.66 * peaks[False]
    assert peaks[True] < peaks["activations"] < 0.72 * peaks[False]


class Summed(nn.Module):
    """Sums of sums: each is computed from the one before."""

    def __init__(self, channels):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(20))

    def forward(self, x):
        for conv in self.convs:
            x = x + torch.sigmoid(conv(x)) * x
        return x


def test_long_chains_of_sums_are_cut():
    model = network(stage=plain_stage(attention=Summed))
    assert_equal(gradients(model, True), gradients(model, False))
    x, peaks = image(1, 3, 96, 96), []
    for setting in (False, True):
        model.memory_efficient = setting
        model.zero_grad()
        peaks.append(allocated(lambda: model(x).square().mean().backward())[1])
    assert peaks[1] < 0.9 * peaks[0]


class Stage(nn.Module):
    """A stage that uses torch in a way of its own."""

    def __init__(self, way, in_channels, out_channels):
        super().__init__()
        self.way = way
        self.first = nn.Conv2d(in_channels, out_channels, 1)
        self.a, self.b = (nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in range(2))
        self.n, self.m = nn.BatchNorm2d(out_channels), nn.BatchNorm2d(out_channels)
        self.offset = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        nn.init.normal_(self.offset)

    def forward(self, x):
        return self.way(self, self.first(x))


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


def unbatched_pooling(stage, x):
    h = F.relu(stage.n(stage.a(x)))
    planes = torch.stack([F.max_pool2d(one, 3, 1, 1) for one in h])
    return stage.b(planes) + F.max_pool3d(h, 3, 1, 1)


def own_checkpoint(stage, x):
    def inner(x):
        h = F.max_pool2d(F.relu(stage.n(stage.b(F.relu(stage.m(x))))), 3, 1, 1)
        return torch.cat([h, x], 1)[:, : x.shape[1]]

    return stage.a(checkpoint(inner, x, use_reentrant=False))


def own_hooks(stage, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t * 1, lambda t: t * 1):
        return F.max_pool2d(F.relu(stage.n(stage.a(x))), 3, 1, 1)


def reads_running_statistics(stage, x):
    y = stage.n(x)
    return F.batch_norm(stage.a(y), stage.n.running_mean, stage.n.running_var) + y


def writes_by_out(stage, x):
    h = F.relu(stage.n(stage.a(x)))
    t = stage.b(h)
    with torch.no_grad():
        torch.mul(h, 0.5, out=t)
    return stage.b(t) + stage.b(h)


def expands(stage, x):
    y = stage.m(stage.n(stage.a(x)).mean((2, 3), keepdim=True) + x[..., :1, :1])
    return stage.b(F.relu(y.expand(-1, -1, *x.shape[2:])))


def complex_numbers(stage, x):
    y = torch.mul(torch.fft.fft(stage.a(x)), (stage.offset * 1e-2).to(torch.complex64))
    power = torch.mul(y, y.conj())
    return (power * power).real + torch.view_as_real(y * y.conj())[..., 1] + y.imag * x


def sparse(stage, x):
    y = F.relu(stage.n(x))
    eye = torch.eye(y.shape[-1]).to_sparse()
    return torch.sparse.mm(eye, y.reshape(-1, y.shape[-1]).t()).t().reshape(y.shape)


def mapped(stage, x):
    y = stage.n(stage.a(x))
    return torch.vmap(lambda one: F.relu(one) * 2)(y)


def other_layouts(stage, x):
    h = F.relu(stage.n(stage.a(x)))
    same = torch.relu(h.detach().to_mkldnn()).to_dense()
    return stage.b(h) + same + stage.a(h.transpose(2, 3)).transpose(2, 3)


def arguments_by_name(stage, x):
    y = F.relu(input=stage.n(input=stage.a(x)))
    y = torch.cat(tensors=Pair(y, F.silu(input=x, inplace=False)), dim=1)
    y = F.max_pool2d(input=y, kernel_size=3, stride=1, padding=1)
    return stage.b(y[:, : x.shape[1]]) * stage.b(F.elu(y[:, x.shape[1] :]))


def parts(stage, x):
    y = F.relu(stage.n(stage.a(x)))
    first, second = y.chunk(2, 1)
    turned = torch.cat([second, first], 1)
    return stage.b(torch.cat(Pair(turned, y), 1)[:, 1 : x.shape[1] + 1]) + y[:, :1]


def modules_used_twice(stage, x):
    y = F.relu(stage.n(stage.a(x)))
    return F.relu(stage.n(stage.a(y))) + y * torch.sigmoid(stage.b(y))


def read_before_written(stage, x):
    n = stage.n(stage.a(x))
    s = n * 1.5
    return stage.b(F.leaky_relu(n, 0.2, True)) + stage.b(s)


def overwrites_a_part(stage, x):
    n = stage.n(stage.a(x))
    part = F.relu(n[:, :1], inplace=True)
    return stage.b(n) + part


def overwrites_a_convolution(stage, x):
    return stage.b(F.elu(stage.a(x), 1.0, True))


WAYS = [
    unbatched_pooling,
    own_checkpoint,
    own_hooks,
    reads_running_statistics,
    writes_by_out,
    expands,
    complex_numbers,
    sparse,
    mapped,
    other_layouts,
    arguments_by_name,
    parts,
    modules_used_twice,
    read_before_written,
    overwrites_a_part,
    overwrites_a_convolution,
]


@every_setting
@pytest.mark.parametrize("way", WAYS)
def test_stages_that_use_torch_in_ways_of_their_own(way, setting):
    model = network(stage=partial(Stage, way))
    assert_equal(gradients(model, setting, steps=2), gradients(model, False, steps=2))


@every_setting
def test_spectral_norm_moves_its_vectors_once(setting):
    model = network(stage=plain_stage())
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d) and module is not model.head:
            nn.utils.parametrizations.spectral_norm(module)
    assert_equal(gradients(model, setting, steps=2), gradients(model, False, steps=2))


@pytest.mark.parametrize("setting", [True, "activations"], ids=str)
def test_a_part_under_checkpoint_runs_as_often_as_without(setting):
    runs = []

    def counted(stage, x):
        def inner(x):
            runs.append(1)
            return F.relu(stage.n(stage.a(x)))

        return checkpoint(inner, x, use_reentrant=False)

    model = network(stage=partial(Stage, counted), memory_efficient=setting)
    runs.clear()  # each stage is tried when the network is built
    loss = model(image()).sum()
    assert len(runs) == 5
    loss.backward()
    assert len(runs) == 10


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("setting", [True, "activations"], ids=str)
def test_parameters_are_those_of_the_forward_pass(setting, view):
    """Torch does not keep what is added, and so does not mind if that changes."""

    def adds(stage, x):
        y = F.relu(stage.n(stage.a(x)))
        return stage.b(y * torch.sigmoid(stage.a(x)) + stage.offset)

    def adds_a_view(stage, x):
        return stage.b(F.relu(torch.add(stage.n(stage.a(x)), stage.offset[:, :].view(-1, 1, 1))))

    way = adds_a_view if view else adds
    model = network(stage=partial(Stage, way), memory_efficient=setting)
    expected = gradients(model, False)
    x = image().requires_grad_()
    torch.manual_seed(7)
    loss = model(x).square().mean()
    with torch.no_grad():
        for stage in (*model.encoders, model.bottleneck, *model.decoders):
            stage.offset.add_(1)
    loss.backward()
    assert torch.equal(x.grad, expected[1])


@pytest.mark.parametrize("setting", [True, "activations"], ids=str)
@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, partial(nn.InstanceNorm2d, track_running_stats=True)]
)
def test_running_statistics_are_those_of_the_forward_pass(norm, setting):
    """Torch does not notice that they have moved when the backward pass reads them."""
    given = filled(network(stage=plain_stage(norm=norm))).eval()
    found = []
    for each in (setting, False):
        model = copy.deepcopy(given)
        model.memory_efficient = each
        x = image().requires_grad_()
        loss = model(x).square().mean()
        with torch.no_grad():
            model.train()(image() + 1)
        loss.backward()
        found.append([x.grad, *(p.grad for p in model.parameters())])
    assert_equal(*found)


def test_an_output_overwritten_after_it_was_saved_is_noticed():
    def overwrites(stage, x):
        t = stage.b(x)
        u = t.square()
        with torch.no_grad():
            torch.mul(x, 0.5, out=t)
        return u

    for setting in (False, True, "activations"):
        model = network(stage=partial(Stage, overwrites), memory_efficient=setting)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            model(image()).sum().backward()


@pytest.mark.parametrize("setting", [False, True, "activations"], ids=str)
def test_a_view_of_another_dtype_overwritten_after_it_was_saved_is_noticed(setting):
    def overwrites(stage, x):
        n = stage.n(stage.a(x))
        saved = stage.offset * n.detach().view(torch.int32)[:, :, :1, :1]
        return stage.b(F.relu(n, inplace=True)) + saved

    model = network(stage=partial(Stage, overwrites), memory_efficient=setting)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(image()).sum().backward()


def test_a_recipe_gives_the_layout_that_was_saved():
    x = image()
    saved = x.contiguous(memory_format=torch.channels_last)
    recipe = Recipe(saved, lambda values: values[0].tensor * 2, [Input(Kept(x))], True)
    kept = Kept(saved)
    kept.give_up(saved, recipe)
    assert torch.equal(kept.unpack(), x * 2)
    assert kept.unpack().stride() == saved.stride()


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_mixed_precision_is_that_of_the_forward_pass(forward, backward):
    x = image(4, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=forward):
        product = x @ x
        recipe = Recipe(product, lambda values: values[0].tensor @ x, [Input(Kept(x))], True)
    with torch.autocast("cpu", torch.bfloat16, enabled=backward):
        again = recipe.peek(keep=False)
    assert again.dtype == product.dtype
    assert torch.equal(again, product)


def test_writing_spares_a_value_that_is_kept():
    x = image()
    normed = Recipe(x, lambda values: values[0].tensor * 2, [Input(Kept(x))], True)
    holder = Kept(x)
    holder.give_up(x, normed)
    plan = ALL[F.elu](x, (x, 1.0, True), {})
    activated = Recipe(x, plan.compute, [Input(normed, View.of(x))], True)
    assert torch.equal(activated.peek(keep=True), F.elu(x * 2))
    assert torch.equal(holder.unpack(), x * 2)


def test_networks_pickled_before_there_was_a_choice():
    model = rsan(widths=WIDTHS)
    del model._memory_efficient
    for module in model.modules():
        if isinstance(module, PreActResidual):
            del module.memory_efficient
    assert model.memory_efficient is False
    assert model(image()).shape == (2, 1, 24, 20)


def never_saved(stage, x):
    total = stage.a(x)
    for _ in range(6):
        y = F.relu(stage.n(total))
        total = total + torch.cat([y, stage.b(y)], 1).mean(1, keepdim=True) * 0.1
    return total


def with_parameters(stage, x):
    for _ in range(6):
        x = x.clone() + stage.offset.expand(-1, -1, *x.shape[2:]) + torch.zeros_like(x)
    return stage.a(x)


def with_expanded_parameters(stage, x):
    x = stage.n(stage.a(x))
    for _ in range(6):
        x = x + stage.offset.expand(len(x), -1, *x.shape[2:])
    return stage.b(x)


@pytest.mark.parametrize("way", [never_saved, with_parameters, with_expanded_parameters])
def test_no_peak_is_higher(way):
    model, x = network(stage=partial(Stage, way)), image(1, 3, 64, 64)
    peaks = {}
    for setting in (False, "activations", True):
        model.memory_efficient = setting
        model.zero_grad()
        forward = allocated(lambda: model(x))[1]
        peaks[setting] = forward, allocated(lambda: model(x).sum().backward())[1]
    for setting in ("activations", True):
        pairs = zip(peaks[setting], peaks[False], strict=True)
        assert all(ours <= 1.01 * plain for ours, plain in pairs), (way, peaks)


@pytest.mark.parametrize("make", [partial(PreActResidual, 8, 16), partial(RSAB, 16)], ids=str)
@pytest.mark.parametrize("inplace", [False, True])
def test_a_block_alone(make, inplace):
    block = filled(make(inplace=inplace))
    x = image(2, block.in_channels, 40, 40)
    assert_equal(gradients(block, True, x, steps=2), gradients(block, False, x, steps=2))
    plain = held(block, x)
    block.memory_efficient = True
    assert held(block, x) < 0.65 * plain


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
def test_cbam_keeps_no_product(norm):
    layer, x = CBAM(64, norm=norm), image(1, 64, 40, 40)
    assert held(layer, x.requires_grad_()) < 0.1 * x.untyped_storage().nbytes()
    layer, grads = layer.double(), []
    for run in (layer, lambda x: layer.spatial(layer.channel(x))):
        x = image(1, 64, 40, 40, dtype=torch.float64).requires_grad_()
        out = torch.autograd.grad(run(x).square().sum(), [x, *layer.parameters()])
        grads.append(out)
    assert_equal(*grads)


@every_setting
def test_it_can_be_set_and_is_copied(setting):
    model = rsan(widths=WIDTHS, memory_efficient=setting)
    assert model.memory_efficient == copy.deepcopy(model).memory_efficient == setting
    assert rsan(widths=WIDTHS).memory_efficient is False
    assert list(model.state_dict()) == list(rsan(widths=WIDTHS).state_dict())
    assert json.dumps(model.memory_efficient)


@pytest.mark.parametrize("wrong", ["stage", 1, None, 0.5])
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match=r"UNet: memory_efficient must be one of .*, got"):
        rsan(widths=WIDTHS, memory_efficient=wrong)
    model = rsan(widths=WIDTHS)
    with pytest.raises(ValueError, match=r"UNet: memory_efficient must be one of .*, got"):
        model.memory_efficient = wrong
    with pytest.raises(TypeError, match="RSAB: memory_efficient must be a bool"):
        RSAB(4, memory_efficient=wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_setting
def test_cuda(setting):
    model = rsan(widths=WIDTHS).cuda()
    x = image().cuda()
    torch.testing.assert_close(
        gradients(model, setting, x), gradients(model, False, x), rtol=1e-6, atol=1e-6
    )
