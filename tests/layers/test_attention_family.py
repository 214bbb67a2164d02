"""The attention layers against their formulas, and the contract that they share."""

import functools
import math

import numpy as np
import pytest
import torch
from contract_rows import bytes_saved, image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from torchattn_blocks import (
    CBAM,
    RSAB,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    EfficientChannelAttention,
    GlobalContext,
    IdentityStart,
    PreActResidual,
    SpatialAttention,
    SqueezeExcite,
    rsan,
)

WITH_CHANNELS = [
    CBAM,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    EfficientChannelAttention,
    GlobalContext,
    SqueezeExcite,
]
every_layer = pytest.mark.parametrize("layer_class", WITH_CHANNELS)
SIZES = {1: (9,), 2: (5, 7), 3: (3, 5, 2)}


def made(layer_class, channels, **options):
    """A layer in double precision; `SpatialAttention` too, which takes no channels."""
    if layer_class is SpatialAttention:
        return SpatialAttention(**options).double()
    return layer_class(channels, **options).double()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def mlp(layer, v):
    """The two linear layers on one vector of C statistics."""
    first, second = layer.fc1, layer.fc2
    bias1, bias2 = (0 if fc.bias is None else fc.bias.numpy() for fc in (first, second))
    hidden = np.maximum(0, first.weight.numpy() @ v + bias1)
    return second.weight.numpy() @ hidden + bias2


def channel_weights(layer, sample):
    values = sample.reshape(len(sample), -1)
    return sigmoid(mlp(layer, values.max(1)) + mlp(layer, values.mean(1)))


def squeeze_weights(layer, sample):
    return sigmoid(mlp(layer, sample.reshape(len(sample), -1).mean(1)))


def eca_weights(layer, sample):
    means = sample.reshape(len(sample), -1).mean(1)
    kernel = layer.conv.weight.numpy().ravel()
    reach = len(kernel) // 2
    logits = [
        sum(
            w * means[c + offset]
            for w, offset in zip(kernel, range(-reach, reach + 1), strict=True)
            if 0 <= c + offset < len(means)
        )
        for c in range(len(means))
    ]
    return sigmoid(np.array(logits))


def position_weights_logits(layer, sample):
    kernel = layer.conv.weight.numpy().ravel()
    bias = 0 if layer.conv.bias is None else layer.conv.bias.item()
    return np.tensordot(kernel, sample, 1) + bias


def position_weights(layer, sample):
    return sigmoid(position_weights_logits(layer, sample))


def context_weights(layer, sample):
    logits = np.exp(position_weights_logits(layer, sample))
    return logits / logits.sum()


def context(layer, sample):
    """What a global context adds, or multiplies by."""
    weighted = (sample * context_weights(layer, sample)).reshape(len(sample), -1).sum(1)
    hidden = layer.fc1.weight.numpy() @ weighted + layer.fc1.bias.numpy()
    hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + layer.norm.eps)
    hidden = np.maximum(0, hidden * layer.norm.weight.numpy() + layer.norm.bias.numpy())
    return layer.fc2.weight.numpy() @ hidden + layer.fc2.bias.numpy()


def along_channels(weights, sample):
    return weights.reshape(-1, *[1] * (sample.ndim - 1))


FORMULA = {
    ChannelAttention: lambda layer, s: along_channels(channel_weights(layer, s), s),
    SqueezeExcite: lambda layer, s: along_channels(squeeze_weights(layer, s), s),
    EfficientChannelAttention: lambda layer, s: along_channels(eca_weights(layer, s), s),
    ConcurrentSqueezeExcite: lambda layer, s: (
        along_channels(squeeze_weights(layer, s), s) + position_weights(layer, s)
    ),
}


@pytest.mark.parametrize("layer_class", FORMULA)
@given(
    shape=st.tuples(*[st.integers(1, n) for n in (3, 40, 9, 9)]),
    spatial_dims=st.integers(1, 3),
    options=st.fixed_dictionaries({}, optional={"bias": st.booleans(), "reduction": st.just(3)}),
)
@settings(max_examples=25)
def test_equals_the_formula(layer_class, shape, spatial_dims, options):
    options = {} if layer_class is EfficientChannelAttention else options
    batch, channels, *size = shape
    x = torch.randn(batch, channels, *(*size, 2)[:spatial_dims], dtype=torch.float64)
    layer = made(layer_class, channels, spatial_dims=spatial_dims, **options)
    layer.requires_grad_(False)
    expected = np.stack([FORMULA[layer_class](layer, sample) for sample in x.numpy()])
    torch.testing.assert_close(layer.attention_map(x), torch.from_numpy(expected))
    assert torch.equal(layer(x), x * layer.attention_map(x))


@given(
    shape=st.tuples(*[st.integers(1, n) for n in (3, 20, 9, 9)]),
    spatial_dims=st.integers(1, 3),
    fusion=st.sampled_from(["add", "scale"]),
)
@settings(max_examples=25)
def test_global_context_equals_the_formula(shape, spatial_dims, fusion):
    batch, channels, *size = shape
    x = torch.randn(batch, channels, *(*size, 2)[:spatial_dims], dtype=torch.float64)
    layer = made(GlobalContext, channels, spatial_dims=spatial_dims, fusion=fusion)
    for weight in layer.parameters():
        nn.init.normal_(weight.requires_grad_(False))
    samples = x.numpy()
    weights = np.stack([context_weights(layer, sample)[None] for sample in samples])
    torch.testing.assert_close(layer.attention_map(x), torch.from_numpy(weights))
    changes = [along_channels(context(layer, sample), sample) for sample in samples]
    change = torch.from_numpy(np.stack(changes))
    expected = x + change if fusion == "add" else x * change.sigmoid()
    torch.testing.assert_close(layer(x), expected)


def test_global_context_starts_as_the_identity_if_it_adds():
    x = image(2, 16, 9, 8)
    layer = GlobalContext(16)
    assert torch.equal(layer(x), x)
    nn.init.ones_(layer.fc2.weight)
    layer.fc2.reset_parameters()
    assert torch.equal(layer(x), x)
    assert not torch.equal(GlobalContext(16, fusion="scale")(x), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("fusion", ["add", "scale"])
def test_global_context_keeps_one_feature_map_of_one_channel(fusion, layout):
    layer = GlobalContext(16, fusion=fusion)
    x = torch.randn(2, 16, 60, 50).contiguous(memory_format=layout).requires_grad_()
    largest = bytes_saved(layer, x)[-1]
    assert largest == 2 * 60 * 50 * 4


def test_cbam_takes_any_channel_attention():
    layer, x = made(CBAM, 6, channel=EfficientChannelAttention), image(2, 6, 9, 8).double()
    assert isinstance(layer.channel, EfficientChannelAttention)
    assert torch.equal(layer(x), layer.spatial(layer.channel(x)))
    torch.testing.assert_close(x * layer.attention_map(x), layer(x))
    line = CBAM(6, channel=functools.partial(SqueezeExcite, reduction=2), spatial_dims=1)
    assert (line.channel.spatial_dims, line.channel.fc1.out_features) == (1, 3)
    there = CBAM(6, channel=EfficientChannelAttention, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in there.parameters()} == {("meta", torch.float64)}
    for name, value in {"reduction": 4, "hidden_channels": 3, "mlp_bias": True}.items():
        with pytest.raises(ValueError, match=f"CBAM: {name} must not be given beside channel, got"):
            CBAM(6, channel=EfficientChannelAttention, **{name: value})


def test_cbam_has_no_map_if_its_channel_attention_multiplies_by_none():
    x = image(2, 8, 5, 4)
    layers = {
        "GlobalContext": GlobalContext,
        "IdentityStart": lambda channels: IdentityStart(SqueezeExcite(channels)),
    }
    for name, channel in layers.items():
        layer = CBAM(8, channel=channel)
        assert torch.equal(layer(x), layer.spatial(layer.channel(x)))
        with pytest.raises(TypeError, match=f"CBAM: for attention_map .* got {name}$"):
            layer.attention_map(x)


def test_a_gate_is_refused_where_nothing_is_multiplied():
    with pytest.raises(ValueError, match='GlobalContext: gate must not be given with fusion="add"'):
        GlobalContext(8, gate=nn.Hardsigmoid)
    gate = GlobalContext(8, fusion="scale", gate=nn.Hardsigmoid).gate
    assert isinstance(gate, nn.Hardsigmoid)


def test_cbam_is_channel_then_spatial_attention():
    layer, x = made(CBAM, 6), image(2, 6, 9, 8, dtype=torch.float64)
    by_channel = layer.channel(x)
    assert torch.equal(layer(x), layer.spatial(by_channel))
    torch.testing.assert_close(x * layer.attention_map(x), layer(x))
    assert list(layer.state_dict()) == [
        "channel.fc1.weight",
        "channel.fc2.weight",
        "spatial.conv.weight",
    ]


def test_cbams_options_reach_its_children():
    layer = CBAM(
        64, hidden_channels=5, mlp_bias=True, kernel_size=3, bias=True, norm=nn.BatchNorm2d
    )
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "channel.fc1.weight": (5, 64),
        "channel.fc1.bias": (5,),
        "channel.fc2.weight": (64, 5),
        "channel.fc2.bias": (64,),
        "spatial.conv.weight": (1, 2, 3, 3),
        "spatial.conv.bias": (1,),
        "spatial.norm.weight": (1,),
        "spatial.norm.bias": (1,),
    }
    assert CBAM(64, reduction=4).channel.fc1.out_features == 16
    for mlp_bias in (False, True):
        one_bias = CBAM(64, mlp_bias=mlp_bias, bias=not mlp_bias)
        assert (one_bias.channel.fc1.bias is not None) == mlp_bias
        assert (one_bias.channel.fc2.bias is not None) == mlp_bias
        assert (one_bias.spatial.conv.bias is not None) != mlp_bias


@every_layer
@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 15, 33])
def test_any_channels_and_sizes(layer_class, spatial_dims, channels):
    layer = made(layer_class, channels, spatial_dims=spatial_dims)
    for size in (SIZES[spatial_dims], [1] * spatial_dims):
        x = torch.randn(2, channels, *size, dtype=torch.float64)
        assert layer(x).shape == x.shape
        assert torch.broadcast_shapes(layer.attention_map(x).shape, x.shape) == x.shape
        assert layer.attention_map(x).dim() == x.dim()


@pytest.mark.parametrize("layer_class", [*WITH_CHANNELS, SpatialAttention])
def test_more_dimensions_are_the_same_layer(layer_class):
    """With axes of one, layers of one, two and three dimensions agree."""
    torch.manual_seed(0)
    line = made(layer_class, 6, spatial_dims=1)
    x = image(2, 6, 1, 11, dtype=torch.float64)
    for spatial_dims in (2, 3):
        more = made(layer_class, 6, spatial_dims=spatial_dims)
        for name, weight in more.state_dict().items():
            narrow = line.state_dict()[name]
            weight.zero_()
            middle = (slice(None), slice(None), *[k // 2 for k in weight.shape[2:-1]])
            weight[middle if weight.dim() > narrow.dim() else ...] = narrow
        shape = (2, 6, *[1] * (spatial_dims - 1), 11)
        torch.testing.assert_close(more(x.view(shape)).view(x.shape)[:, :, 0], line(x[:, :, 0]))


def parameters(layer):
    return sum(p.numel() for p in layer.parameters())


@given(channels=st.integers(1, 300), reduction=st.integers(1, 40))
@settings(max_examples=40)
def test_parameters_as_documented(channels, reduction):
    c, h = channels, max(1, channels // reduction)
    options = {"reduction": reduction, "device": "meta"}
    assert parameters(ChannelAttention(c, **options)) == 2 * c * h
    assert parameters(ChannelAttention(c, bias=True, **options)) == 2 * c * h + h + c
    assert parameters(CBAM(c, **options)) == 2 * c * h + 98
    assert parameters(SqueezeExcite(c, **options)) == 2 * c * h + h + c
    assert parameters(SqueezeExcite(c, bias=False, **options)) == 2 * c * h
    assert parameters(ConcurrentSqueezeExcite(c, **options)) == 2 * c * h + h + 2 * c + 1
    assert parameters(ConcurrentSqueezeExcite(c, bias=False, **options)) == 2 * c * h + c
    assert parameters(EfficientChannelAttention(c, device="meta")) in (1, 3, 5)
    eca = parameters(EfficientChannelAttention(c, device="meta"))
    assert parameters(CBAM(c, channel=EfficientChannelAttention, device="meta")) == eca + 98
    h = max(8, channels // reduction)
    for fusion in ("add", "scale"):
        count = parameters(GlobalContext(c, fusion=fusion, **options))
        assert count == 2 * c * h + 2 * c + 3 * h + 1


def test_default_reductions():
    kinds = (ChannelAttention, ConcurrentSqueezeExcite, SqueezeExcite)
    assert [kind(64).fc1.out_features for kind in kinds] == [4, 32, 4]


@pytest.mark.parametrize(
    ("channels", "size"),
    [(1, 1), (7, 1), (8, 3), (64, 3), (127, 3), (128, 5), (512, 5), (2047, 5), (2048, 7)],
)
def test_kernel_size_of_eca(channels, size):
    assert parameters(EfficientChannelAttention(channels, device="meta")) == size
    assert parameters(EfficientChannelAttention(channels, kernel_size=9, device="meta")) == 9


@pytest.mark.parametrize("layer_class", [*WITH_CHANNELS, SpatialAttention])
def test_made_where_it_is_asked_for(layer_class):
    channels = () if layer_class is SpatialAttention else (8,)
    norm = {"norm": nn.BatchNorm2d} if layer_class in (CBAM, SpatialAttention) else {}
    layer = layer_class(*channels, device="meta", dtype=torch.bfloat16, **norm)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


def test_activation_and_gate_are_chosen():
    layer = SqueezeExcite(8, activation=nn.SiLU, gate=nn.Hardsigmoid)
    x = image(2, 8, 5, 5)
    means = x.mean((2, 3))
    expected = nn.functional.hardsigmoid(layer.fc2(nn.functional.silu(layer.fc1(means))))
    torch.testing.assert_close(layer.attention_map(x)[..., 0, 0], expected)
    both = ConcurrentSqueezeExcite(8, hidden_channels=1, gate=nn.Hardsigmoid)
    nn.init.zeros_(both.fc2.weight), nn.init.constant_(both.fc2.bias, 9)
    expected = 1 + nn.functional.hardsigmoid(both.conv(x))
    torch.testing.assert_close(both.attention_map(x), expected.expand(2, 8, 5, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SqueezeExcite(0), "SqueezeExcite: channels must be at least 1, got 0"),
        (lambda: CBAM(-1), "CBAM: channels must be at least 1, got -1"),
        (lambda: CBAM(8, reduction=0), "ChannelAttention: reduction must be at least 1, got 0"),
        (lambda: CBAM(8, kernel_size=2), "SpatialAttention: kernel_size must be odd, got 2"),
        (
            lambda: ChannelAttention(8, hidden_channels=0),
            "ChannelAttention: hidden_channels must be at least 1, got 0",
        ),
        (
            lambda: EfficientChannelAttention(8, kernel_size=4),
            "EfficientChannelAttention: kernel_size must be odd, got 4",
        ),
        (
            lambda: ConcurrentSqueezeExcite(8, spatial_dims=4),
            "ConcurrentSqueezeExcite: spatial_dims must be at most 3, got 4",
        ),
        (lambda: GlobalContext(8, fusion="mul"), r"GlobalContext: fusion must be one of \('add', "),
        (lambda: GlobalContext(8, reduction=0), "GlobalContext: reduction must be at least 1"),
        (lambda: SpatialAttention(spatial_dims=0), "spatial_dims must be at least 1, got 0"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_layer
def test_bad_kinds(layer_class):
    name = layer_class.__name__
    with pytest.raises(TypeError, match=f"{name}: channels must be an int, got 8.0"):
        layer_class(8.0)
    with pytest.raises(TypeError, match="spatial_dims must be an int, got '2'"):
        layer_class(8, spatial_dims="2")
    if layer_class is not EfficientChannelAttention:  # whose convolution takes any number of them
        with pytest.raises(ValueError, match=rf"{name}: x must have 8 channels, got shape \(2, 3,"):
            layer_class(8)(image())
    with pytest.raises(ValueError, match=rf"{name}: x must have 5 dimensions \(N, C, D, H, W\)"):
        layer_class(3, spatial_dims=3)(image())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CBAM(64, 16), "CBAM: options must be given by name: write reduction=16"),
        (
            lambda: SqueezeExcite(64, 16, 3),
            "SqueezeExcite: .*: write reduction=16, hidden_channels=3",
        ),
        (lambda: SpatialAttention(7), "SpatialAttention: .*: write kernel_size=7"),
        (lambda: SqueezeExcite(), "SqueezeExcite: missing a required argument: 'channels'"),
        (lambda: ChannelAttention(8, ratio=4), "ChannelAttention: got an unexpected keyword .*'ra"),
    ],
)
def test_wrong_arguments_name_the_class_that_was_called(make, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: CBAM(8),
        lambda: ChannelAttention(8),
        lambda: SqueezeExcite(8),
        lambda: ConcurrentSqueezeExcite(8),
        lambda: EfficientChannelAttention(8),
        lambda: GlobalContext(8),
        lambda: SpatialAttention(norm=nn.BatchNorm2d),
        lambda: PreActResidual(8),
        lambda: RSAB(8),
        lambda: IdentityStart(CBAM(8)),
    ],
)
def test_each_child_is_called_once(make):
    """As captum's DeepLift asks."""
    layer, called = make(), []
    for module in layer.modules():
        module.register_forward_hook(lambda module, x, y: called.append(module))
    layer(torch.randn(2, 8, 5, 4))
    assert len(called) == len(set(called)) == len(list(layer.modules()))


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_full_backward_hook", None])
def test_who_hooks_the_convolution_sees_the_layout_of_the_input(hook):
    """Opacus 1.6.0 computes wrong gradients of each sample from another layout."""
    layer, seen = SpatialAttention(), []
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    if hook is not None:
        getattr(layer.conv, hook)(lambda *_: None)
    forward = layer.conv.forward
    layer.conv.forward = lambda x: seen.append(x.is_contiguous()) or forward(x)
    y = layer(x)
    assert seen == [hook is not None]  # channels last is faster, but for nobody else to see
    other = SpatialAttention()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(y, other(x))


@pytest.mark.parametrize("layer_class", [ChannelAttention, SpatialAttention])
def test_equal_maxima_share_the_gradient(layer_class):
    """Eager code and torch's own `amax` agree, also where more than 255 elements are equal."""
    x = torch.randint(0, 2, (2, 700, 3, 300), dtype=torch.float64)
    x[0] = 0
    layer = made(layer_class, 700)
    grads = []
    for run in (layer, torch.func.vjp):
        if run is layer:
            leaf = x.clone().requires_grad_()
            grads.append(torch.autograd.grad(layer(leaf).sum(), leaf)[0])
        else:  # under a transform: torch's own gradient of `amax`
            grads.append(torch.func.grad(lambda x: layer(x).sum())(x))
    torch.testing.assert_close(*grads)
    assert grads[0].isfinite().all()


class Operators(TorchDispatchMode):
    """Note the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("layer_class", [*WITH_CHANNELS, SpatialAttention])
def test_no_operator_adds_in_any_order_on_cuda(layer_class):
    """As adaptive and other poolings, scatter_add and index_put do there."""
    layer, x = made(layer_class, 3), image(dtype=torch.float64).requires_grad_()
    with Operators() as operators:
        layer(x).sum().backward()
    unordered = ("pool", "scatter", "index", "cumsum", "upsample")
    assert [name for name in operators.names if any(word in name for word in unordered)] == []
    expected = {"_softmax", "bmm"} if layer_class is GlobalContext else {"mul", "sigmoid"}
    assert expected <= operators.names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SqueezeExcite(8, activation=nn.ReLU()), "SqueezeExcite: activation must be a fun"),
        (lambda: SqueezeExcite(8, gate="sigmoid"), "gate must be a function .*, got 'sigmoid'"),
        (lambda: SqueezeExcite(8, gate=lambda: 3), "gate must .* got one that returns int"),
        (lambda: ChannelAttention(8, gate=lambda x: x), "ChannelAttention: gate must be a functio"),
        (lambda: SpatialAttention(norm=nn.BatchNorm2d(1)), "SpatialAttention: norm must be a func"),
        (lambda: CBAM(8, channel=SqueezeExcite(8)), "CBAM: channel must be a function that takes"),
        (
            lambda: GlobalContext(8, norm=3),
            "GlobalContext: norm must be a function that takes a",
        ),
        (lambda: CBAM(8, norm=True), "SpatialAttention: norm must be a function .*, got True"),
        (lambda: RSAB(8, attention=SpatialAttention()), "RSAB: attention must be a function tha"),
        (lambda: rsan(attention=SqueezeExcite(8)), "RSAB: attention must be .* a number of chann"),
    ],
)
def test_bad_factories(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_factories_of_any_kind():
    def kernel_of_three(function):
        @functools.wraps(function)
        def of_channels(channels):
            return function(channels, 3)

        return of_channels

    @kernel_of_three
    def make(channels, kernel_size):
        return SpatialAttention(kernel_size=kernel_size)

    assert RSAB(8, attention=make).attention.conv.kernel_size == (3, 3)
    assert RSAB(8, attention=functools.partial(CBAM, reduction=2)).attention.channel.fc1
    assert RSAB(8, attention=lambda channels, *rest: nn.Identity()).attention(3) == 3


def test_scse_takes_a_convolution_with_weights_for_each_element():
    layer, x = ConcurrentSqueezeExcite(4), image(2, 4, 6, 5).requires_grad_()
    layer.conv = nn.Conv2d(4, 4, 3, padding=1)
    grads = [
        torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
        for y in (layer(x), x * layer.attention_map(x))
    ]
    torch.testing.assert_close(*grads)


def test_children_are_made_where_the_layer_is():
    layer = SqueezeExcite(8, activation=nn.PReLU, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}


class InFloat32(nn.Module):
    """What autocast makes of layer normalisation, for example."""

    def forward(self, x):
        return x.float()


@pytest.mark.parametrize(
    "layer",
    [
        SpatialAttention(norm=lambda channels: InFloat32()),
        CBAM(8, norm=lambda channels: InFloat32()),
        ChannelAttention(8, gate=InFloat32),
        SqueezeExcite(8, gate=InFloat32),
        ConcurrentSqueezeExcite(8, gate=InFloat32),
        GlobalContext(8, fusion="scale", gate=InFloat32),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_child_of_another_dtype_does_not_change_that_of_the_output(layer):
    x = image(2, 8, 6, 5, dtype=torch.bfloat16)
    layer.bfloat16()
    assert layer(x).dtype == layer.attention_map(x).dtype == torch.bfloat16


def test_scse_holds_no_map_of_the_inputs_size():
    x = torch.randn(2, 16, 9, 7, requires_grad=True)
    saved = bytes_saved(ConcurrentSqueezeExcite(16), x)
    assert 0 < max(saved) <= 4 * 2 * 9 * 7  # one channel


def test_he_normal_stays_with_spatial_attention_alone():
    torch.manual_seed(0)
    kernel = torch.cat([CBAM(4).spatial.conv.weight.flatten() for _ in range(100)])
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / 98), rel=0.03)


@pytest.mark.parametrize("layer_class", [*WITH_CHANNELS, SpatialAttention])
def test_means_in_half_precision_do_not_overflow(layer_class):
    """The sum of these elements is above 65,504, the greatest number of float16."""
    exact = made(layer_class, 64)
    half = layer_class(**({} if layer_class is SpatialAttention else {"channels": 64})).half()
    half.load_state_dict(exact.state_dict())
    x = torch.full((1, 64, 40, 50), 60.0, dtype=torch.float64)
    expected = exact.attention_map(x)
    torch.testing.assert_close(
        half.attention_map(x.half()).double(), expected, rtol=0.02, atol=0.01
    )
