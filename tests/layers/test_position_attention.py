"""Coordinate, triplet and bottleneck attention, and SimAM, against their formulas in NumPy."""

import numpy as np
import pytest
import torch
from contract_rows import bytes_saved, image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchattn_blocks import (
    BAM,
    RSAB,
    CoordinateAttention,
    GlobalContext,
    SimAM,
    TripletAttention,
    rsan,
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def normalised(norm, values):
    """Batch normalisation in evaluation, of channels first: (C, ...)."""
    if isinstance(norm, nn.Identity):
        return values
    statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    mean, variance, weight, bias = (
        one.detach().numpy().reshape(-1, *[1] * (values.ndim - 1)) for one in statistics
    )
    return (values - mean) / np.sqrt(variance + norm.eps) * weight + bias


def pointwise(conv, values):
    """A 1 x 1 convolution or a linear layer, (C, ...) -> (C', ...)."""
    weight = conv.weight.detach().numpy().reshape(len(conv.weight), -1)
    out = np.tensordot(weight, values, 1)
    if conv.bias is not None:
        out = out + conv.bias.detach().numpy().reshape(-1, *[1] * (values.ndim - 1))
    return out


def convolved(conv, values):
    """A convolution that keeps the sizes, element by element, (C, *size) -> (C', *size)."""
    weight = conv.weight.detach().numpy()
    reach = conv.padding[0]
    step = conv.dilation[0]
    padded = np.pad(values, [(0, 0), *[(reach, reach)] * (values.ndim - 1)])
    out = np.zeros((len(weight), *values.shape[1:]))
    for at in np.ndindex(*weight.shape[2:]):
        window = tuple(
            slice(step * i, step * i + size) for i, size in zip(at, values.shape[1:], strict=True)
        )
        out += np.tensordot(weight[(..., *at)], padded[(slice(None), *window)], 1)
    if conv.bias is not None:
        out += conv.bias.detach().numpy().reshape(-1, *[1] * (values.ndim - 1))
    return out


def coordinate_map(layer, sample):
    axes = range(1, sample.ndim)
    weights = np.ones_like(sample)
    for axis, conv in zip(axes, layer.convs, strict=True):
        means = sample.mean(tuple(other for other in axes if other != axis))  # (C, L)
        hidden = normalised(layer.norm, pointwise(layer.conv, means))
        hidden = hidden * np.clip(hidden + 3, 0, 6) / 6
        along = sigmoid(pointwise(conv, hidden))
        shape = [len(sample)] + [-1 if other == axis else 1 for other in axes]
        weights = weights * along.reshape(shape)
    return weights


def triplet_map(layer, sample):
    weights = np.zeros_like(sample)
    orders = ((0, 1, 2), (1, 0, 2), (2, 1, 0))  # across channels, rows, columns; own inverses
    for order, conv, norm in zip(orders, layer.convs, layer.norms, strict=True):
        turned = sample.transpose(order)
        summary = np.stack([turned.max(0), turned.mean(0)])
        one = sigmoid(normalised(norm, convolved(conv, summary)))  # (1, A, B)
        weights = weights + np.broadcast_to(one, turned.shape).transpose(order)
    return weights / 3


def bam_map(layer, sample):
    first, norm, _, last = layer.channel
    means = sample.reshape(len(sample), -1).mean(1)
    by_channel = pointwise(last, np.maximum(0, normalised(norm, pointwise(first, means))))
    by_channel = by_channel.reshape(-1, *[1] * (sample.ndim - 1))
    values = sample
    for i in (0, 3, 6):
        convolution, norm = layer.position[i], layer.position[i + 1]
        values = np.maximum(0, normalised(norm, convolved(convolution, values)))
    by_position = convolved(layer.position[9], values)
    add = layer.fusion == "add"
    return 1 + sigmoid(by_channel + by_position if add else by_channel * by_position)


def simam_map(layer, sample):
    values = sample.reshape(len(sample), -1)
    n = values.shape[1]
    distance = (values - values.mean(1, keepdims=True)) ** 2
    variance = distance.sum(1, keepdims=True) / max(1, n - 1)
    return sigmoid(distance / (4 * (variance + layer.eps)) + 0.5).reshape(sample.shape)


DIMS = {CoordinateAttention: (2, 3), TripletAttention: (2,), BAM: (1, 2, 3), SimAM: (1, 2, 3)}
FORMULA = {
    CoordinateAttention: coordinate_map,
    TripletAttention: triplet_map,
    BAM: bam_map,
    SimAM: simam_map,
}
OPTIONS = {
    CoordinateAttention: st.fixed_dictionaries(
        {}, optional={"bias": st.booleans(), "norm": st.none(), "hidden_channels": st.just(3)}
    ),
    TripletAttention: st.fixed_dictionaries(
        {}, optional={"kernel_size": st.sampled_from([1, 3, 5]), "norm": st.none()}
    ),
    BAM: st.fixed_dictionaries(
        {"hidden_channels": st.integers(1, 3)},
        optional={
            "fusion": st.just("multiply"),
            "norm": st.none(),
            "channel_norm": st.none(),
            "dilation": st.integers(1, 3),
        },
    ),
    SimAM: st.fixed_dictionaries({}, optional={"eps": st.floats(1e-6, 1)}),
}


def filled(layer_class, channels, **options):
    """A layer in double precision and evaluation, with random weights and statistics."""
    takes = () if layer_class in (TripletAttention, SimAM) else (channels,)
    layer = layer_class(*takes, **options).double().eval()
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.normal_(0, 0.7)
    return layer


@pytest.mark.parametrize("layer_class", FORMULA)
@given(data=st.data(), shape=st.tuples(*[st.integers(1, n) for n in (3, 9, 7, 7)]))
@settings(max_examples=30)
def test_equals_the_formula(layer_class, data, shape):
    dims = data.draw(st.sampled_from(DIMS[layer_class]))
    batch, channels, *size = shape
    x = torch.randn(batch, channels, *(*size, 2)[:dims], dtype=torch.float64)
    options = data.draw(OPTIONS[layer_class])
    layer = filled(layer_class, channels, spatial_dims=dims, **options)
    expected = np.stack([FORMULA[layer_class](layer, sample) for sample in x.numpy()])
    expected = torch.from_numpy(expected)
    torch.testing.assert_close(layer.attention_map(x), expected)
    torch.testing.assert_close(layer(x), x * expected)


@pytest.mark.parametrize("layer_class", FORMULA)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_backward_pass_holds_no_map_of_the_inputs_size(layer_class, layout):
    """Coordinate attention and SimAM hold next to nothing, the others maps of few channels."""
    layer = filled(layer_class, 32)
    x = torch.randn(2, 32, 40, 30, dtype=torch.float64).contiguous(memory_format=layout)
    saved = bytes_saved(layer.train(), x.requires_grad_())
    allowed = {CoordinateAttention: 0.6, TripletAttention: 0.2, BAM: 0.07, SimAM: 0.0}
    assert max(saved, default=0) <= allowed[layer_class] * x.numel() * 8


@pytest.mark.parametrize(
    ("layer_class", "options"), [*((one, {}) for one in FORMULA), (BAM, {"fusion": "multiply"})]
)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_are_those_of_the_plain_product(layer_class, options, dims):
    if dims not in DIMS[layer_class]:
        pytest.skip(f"{layer_class.__name__} has no {dims} dimensions")
    layer = filled(layer_class, 4, spatial_dims=dims, **options)
    x = image(2, 4, *(6, 5, 3)[:dims], dtype=torch.float64).requires_grad_()
    leaves = [x, *layer.parameters()]
    grads = [
        torch.autograd.grad(y.pow(3).sum(), leaves) for y in (layer(x), x * layer.attention_map(x))
    ]
    torch.testing.assert_close(*grads)


def test_simam_on_one_position_and_on_equal_ones():
    half = torch.tensor(0.5).sigmoid()
    for x in (torch.full((1, 2, 1, 1), 3.0), torch.full((2, 3, 5, 4), -7.0)):
        torch.testing.assert_close(SimAM().attention_map(x), half.expand_as(x))
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(SimAM()(x).sum(), x)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.03, 300.0])
@pytest.mark.parametrize("eps", [1e-4, 1e-6])
def test_simam_in_half_precision_is_that_of_float32(spread, dtype, eps):
    x = (torch.randn(1, 8, 16, 16) * spread + 1).to(dtype)
    layer, found = SimAM(eps=eps), []
    for one in (x.clone().requires_grad_(), x.float().requires_grad_()):
        y = layer(one)
        y.sum().backward()
        found.append((y.float(), one.grad.float()))
    assert all(value.isfinite().all() for value in found[0])
    precise = {torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(*found, rtol=precise, atol=precise)
    assert torch.equal(layer.attention_map(x), layer.attention_map(x.float()).to(dtype))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("layer_class", FORMULA)
def test_torch_jit_records_them(layer_class):
    layer = filled(layer_class, 4).float()
    traced = torch.jit.trace(layer, image(2, 4, 6, 5))
    x = image(2, 4, 6, 5) + 1
    torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("layer_class", FORMULA)
def test_inductor_trains_with_sizes_that_change(layer_class):
    if layer_class is SimAM and torch.__version__ < "2.9":
        pytest.skip("compiled training of SimAM crashes in torch 2.8")
    torch._dynamo.reset()
    layer = filled(layer_class, 4).float()
    compiled = torch.compile(layer, dynamic=True, fullgraph=True)
    for batch, *size in ((2, 9, 11), (3, 20, 7)):
        found = []
        for run in (compiled, layer):
            x = image(batch, 4, *size).requires_grad_()
            y = run(x)
            y.square().sum().backward()
            found.append((y, x.grad))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer_class", FORMULA)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_large_feature_maps(layer_class, dtype):
    """Sums over so many positions are above 65,504, the greatest number of float16."""
    torch.manual_seed(0)
    exact = filled(layer_class, 8)
    half = filled(layer_class, 8).to(dtype)
    half.load_state_dict(exact.state_dict())
    x = 2 * torch.randn(1, 8, 200, 180, dtype=torch.float64) + 5
    expected = exact(x)
    error = (half(x.to(dtype)).double() - expected).abs().max() / expected.abs().max()
    assert error < (0.005 if dtype == torch.float16 else 0.04)


def parameters(layer):
    return sum(p.numel() for p in layer.parameters())


@given(channels=st.integers(1, 200), reduction=st.integers(1, 40), k=st.sampled_from([1, 3, 7]))
@settings(max_examples=40)
def test_parameters_as_documented(channels, reduction, k):
    c, options = channels, {"reduction": reduction, "device": "meta"}
    h = max(8, channels // reduction)
    assert parameters(CoordinateAttention(c, **options)) == 3 * c * h + 2 * c + 3 * h
    assert parameters(CoordinateAttention(c, bias=False, **options)) == 3 * c * h + 2 * h
    deep = parameters(CoordinateAttention(c, spatial_dims=3, **options))
    assert deep == 3 * c * h + 2 * c + 3 * h + c * h + c
    h = max(1, channels // reduction)
    assert parameters(BAM(c, **options)) == 3 * c * h + c + 18 * h * h + 13 * h + 1
    assert parameters(TripletAttention(kernel_size=k)) == 6 * k * k + 6
    assert parameters(TripletAttention(kernel_size=k, norm=None)) == 6 * k * k
    assert parameters(SimAM()) == 0


def test_default_hidden_channels():
    assert CoordinateAttention(512).conv.out_channels == 16
    assert CoordinateAttention(64).conv.out_channels == 8
    assert BAM(64).channel[0].out_features == 4
    for layer, reach in {BAM(64): 4, BAM(64, dilation=3): 3}.items():
        convolutions = [m for m in layer.position if isinstance(m, nn.Conv2d)]
        assert [conv.dilation[0] for conv in convolutions] == [1, reach, reach, 1]
        assert [conv.padding[0] for conv in convolutions] == [0, reach, reach, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoordinateAttention(8, spatial_dims=1), "spatial_dims must be at least 2, got 1"),
        (lambda: CoordinateAttention(0), "channels must be at least 1, got 0"),
        (lambda: CoordinateAttention(8, reduction=0), "reduction must be at least 1, got 0"),
        (lambda: TripletAttention(spatial_dims=3), "spatial_dims must be at most 2, got 3"),
        (lambda: TripletAttention(kernel_size=4), "kernel_size must be odd, got 4"),
        (lambda: BAM(8, fusion="mean"), r"fusion must be one of \('add', 'multiply'\), got 'mean'"),
        (lambda: BAM(8, dilation=0), "dilation must be at least 1, got 0"),
        (lambda: BAM(8, hidden_channels=0), "hidden_channels must be at least 1, got 0"),
        (lambda: SimAM(eps=0), "eps must be above 0 and finite, got 0"),
        (lambda: SimAM(spatial_dims=4), "spatial_dims must be at most 3, got 4"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimAM(eps="0.1"), "SimAM: eps must be a number, got '0.1'"),
        (lambda: SimAM(1e-4), "SimAM: options must be given by name: write eps=0.0001"),
        (lambda: TripletAttention(7), "TripletAttention: .* by name: write kernel_size=7"),
        (lambda: CoordinateAttention(8, 32), "CoordinateAttention: .* write reduction=32"),
        (lambda: CoordinateAttention(8, norm=nn.BatchNorm1d(8)), "CoordinateAttention: norm must"),
        (lambda: BAM(8, channel_norm=3), "BAM: channel_norm must be a function that takes a num"),
        (lambda: TripletAttention(norm=True), "TripletAttention: norm must be a function that"),
    ],
)
def test_bad_kinds(make, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("make", "dims"),
    [
        (lambda: CoordinateAttention(8, norm=nn.BatchNorm2d), 1),
        (lambda: BAM(8, channel_norm=nn.BatchNorm2d), 1),
        (lambda: GlobalContext(8, norm=nn.BatchNorm2d), 1),
        (lambda: BAM(8, norm=nn.BatchNorm3d), 2),
        (lambda: TripletAttention(norm=nn.BatchNorm3d), 2),
    ],
)
def test_a_normalisation_of_other_dimensions_is_refused(make, dims):
    with pytest.raises(ValueError, match=f"norm must be for {dims} spatial dimensions, got Batch"):
        make()


def test_bam_says_that_batch_normalisation_takes_no_single_sample():
    x = torch.rand(1, 8, 6, 5)
    message = r"^BAM: in training with batch normalisation .* \(1, 8, 6, 5\): give chann"
    with pytest.raises(ValueError, match=message):
        BAM(8)(x)
    for layer in (BAM(8).eval(), BAM(8, channel_norm=None), BAM(8, channel_norm=nn.LayerNorm)):
        assert layer(x).shape == x.shape


@pytest.mark.parametrize("layer_class", FORMULA)
def test_in_rsan(layer_class):
    model = rsan(widths=(4, 8), attention=layer_class)
    assert isinstance(model.bottleneck[1].attention, layer_class)
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 1, 16, 16)
    if 3 in DIMS[layer_class]:
        block = RSAB(8, attention=layer_class, spatial_dims=3, drop=None)
        assert block.attention.spatial_dims == 3
    else:
        with pytest.raises(ValueError, match="TripletAttention: spatial_dims must be at most 2"):
            RSAB(8, attention=layer_class, spatial_dims=3)


def test_where_they_are_made():
    for layer_class in (CoordinateAttention, BAM):
        layer = layer_class(8, device="meta", dtype=torch.bfloat16)
        assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}
    layer = TripletAttention(device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


class InFloat32(nn.Module):
    """What autocast makes of some layers."""

    def forward(self, x):
        return x.float()


@pytest.mark.parametrize(
    "layer",
    [
        CoordinateAttention(8, gate=InFloat32),
        TripletAttention(norm=lambda channels: InFloat32()),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_child_of_another_dtype_does_not_change_that_of_the_output(layer):
    x = image(2, 8, 6, 5, dtype=torch.bfloat16)
    layer.bfloat16()
    assert layer(x).dtype == layer.attention_map(x).dtype == torch.bfloat16


@pytest.mark.parametrize("make", [lambda: CoordinateAttention(8), TripletAttention, lambda: BAM(8)])
def test_each_child_is_called_once(make):
    """As captum's DeepLift asks."""
    layer, called = make(), []
    modules = [m for m in layer.modules() if not isinstance(m, nn.ModuleList)]
    for module in modules:
        module.register_forward_hook(lambda module, x, y: called.append(module))
    layer(torch.randn(2, 8, 5, 4))
    assert len(called) == len(set(called)) == len(modules)
