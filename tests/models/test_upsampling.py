"""Upsampling against definitions written out, and against ONNX's own padding "same"."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchattn_blocks import UNet, plain_stage, rsan
from torchattn_blocks.models import pixel_shuffle, transposed, upsample
from torchattn_blocks.models._size import cut


def same_by_definition(x, weight, bias, stride):
    """Keras' and TensorFlow's "same" transposed convolution: one map, written out in NumPy.

    It is the transpose of a convolution with padding "same" from size x stride to size, which
    pads (kernel - stride) // 2 before and the rest after.
    """
    size = x.shape[2:]
    _, out_channels, *kernel = weight.shape
    larger = [n * s for n, s in zip(size, stride, strict=True)]
    before = [max(k - s, 0) // 2 for k, s in zip(kernel, stride, strict=True)]
    y = np.zeros((1, out_channels, *larger))
    for position in itertools.product(*map(range, size)):
        for tap in itertools.product(*map(range, kernel)):
            to = [s * i + t - b for s, i, t, b in zip(stride, position, tap, before, strict=True)]
            if all(0 <= n < most for n, most in zip(to, larger, strict=True)):
                at, of = (0, slice(None), *to), (slice(None), slice(None), *tap)
                y[at] += x[(0, slice(None), *position)] @ weight[of]
    return y + bias.reshape(1, -1, *[1] * len(size))


def steps(dims):
    """Strides and kernels that are no smaller, and a size, for each axis."""
    axis = st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 4))
    return st.lists(axis, min_size=dims, max_size=dims)


@given(axes=st.integers(1, 3).flatmap(steps))
@settings(max_examples=60)
def test_transposed_equals_the_definition(axes):
    stride, more, size = zip(*axes, strict=True)
    kernel = tuple(s + m for s, m in zip(stride, more, strict=True))
    conv = transposed(kernel)(2, 3, stride=stride, spatial_dims=len(axes)).double()
    nn.init.normal_(conv.bias)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    like = torch.empty(1, 1, *[n * s for n, s in zip(size, stride, strict=True)])
    with torch.no_grad():
        got = cut(conv(x), like.shape[2:]).numpy()
    expected = same_by_definition(
        x.numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy(), stride
    )
    np.testing.assert_allclose(got, expected, atol=1e-12)


def onnx_same_upper(x, weight, bias, stride):
    node = onnx.helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], auto_pad="SAME_UPPER", strides=[stride, stride]
    )
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
def test_in_a_network_it_equals_onnx_same_upper(kernel_size):
    seen = []
    model = UNet(1, 1, widths=(2, 3), stage=plain_stage(), up=transposed(kernel_size)).eval()
    model.ups[0].register_forward_hook(lambda conv, args, out: seen.append(args[0]))
    model.skips[0].register_forward_hook(lambda skip, args, out: seen.append(args[0]))
    model(torch.rand(1, 1, 10, 14))
    x, upsampled = (t.detach().numpy() for t in seen)
    weight, bias = (p.detach().numpy() for p in model.ups[0].parameters())
    expected = onnx_same_upper(x, weight, bias, 2)
    np.testing.assert_allclose(upsampled, expected, atol=1e-6)


def test_up_modules_are_torchs_own_and_keep_their_names():
    ups = rsan(widths=(2, 3), up_kernel_size=3).ups
    assert type(ups[0]) is nn.ConvTranspose2d
    assert set(ups.state_dict()) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("mode", ["nearest", "linear", "bilinear", "bicubic"])
def test_upsample_is_torchs_interpolation_before_a_convolution(mode):
    up = upsample(mode)(2, 3)
    x = torch.rand(1, 2, 4, 5)
    torchs = "bilinear" if mode == "linear" else mode
    larger = nn.functional.interpolate(x, (8, 10), mode=torchs)
    torch.testing.assert_close(up(x), up[1](larger))
    assert up[1].kernel_size == (3, 3)
    alone = upsample(mode, kernel_size=None)(2, 3)
    torch.testing.assert_close(alone(x), larger)
    assert not list(alone.parameters())


@pytest.mark.parametrize(
    ("stride", "size"), [((3,), (4,)), ((2, 2), (3, 5)), ((1, 3), (3, 5)), ((1, 2, 3), (2, 3, 2))]
)
def test_pixel_shuffle_moves_channels_to_neighbouring_pixels(stride, size):
    up = pixel_shuffle()(2, 3, stride=stride, spatial_dims=len(stride))
    x = torch.rand(2, 2, *size)
    many, y = up[0](x), up(x)
    assert y.shape[1:] == (3, *[n * s for n, s in zip(size, stride, strict=True)])
    for channel in range(3):
        for shift, part in enumerate(itertools.product(*map(range, stride))):
            every = tuple(slice(p, None, s) for p, s in zip(part, stride, strict=True))
            source = many[:, channel * int(np.prod(stride)) + shift]
            assert torch.equal(y[(slice(None), channel, *every)], source)


@pytest.mark.parametrize("make", [transposed, upsample, pixel_shuffle])
def test_a_bias_is_an_option(make):
    assert [name.rpartition(".")[2] for name, _ in make(bias=False)(2, 3).named_parameters()] == [
        "weight"
    ]


def test_corners_can_be_aligned():
    x = torch.arange(4.0).reshape(1, 1, 4)
    assert upsample(kernel_size=None)(1, 1, spatial_dims=1)(x)[0, 0, :2].tolist() == [0, 0.25]
    aligned = upsample(kernel_size=None, align_corners=True)(1, 1, spatial_dims=1)(x)
    torch.testing.assert_close(aligned, torch.linspace(0, 3, 8).reshape(1, 1, 8))


def test_ready_made_modules_start_like_keras():
    torch.manual_seed(0)
    for conv in (transposed(3)(64, 32), upsample()(64, 32)[1], pixel_shuffle()(64, 32)[0]):
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(conv.weight)
        limit = (6 / (fan_in + fan_out)) ** 0.5
        assert 0.99 * limit < conv.weight.abs().max() <= limit
        assert not conv.bias.any()


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (TypeError, lambda: transposed(2.5), "transposed: kernel_size must be an int, got 2.5"),
        (ValueError, lambda: transposed(0), "transposed: kernel_size must be at least 1, got 0"),
        (
            ValueError,
            lambda: transposed(3)(2, 2, stride=4),
            "transposed: kernel_size must be at least 4, got 3",
        ),
        (
            ValueError,
            lambda: transposed((2, 2, 2))(2, 2),
            r"transposed: kernel_size must be one number or 2, got \(2, 2, 2\)",
        ),
        (
            ValueError,
            lambda: transposed()(2, 2, stride=(1, 2), spatial_dims=1),
            r"transposed: stride must be one number, got \(1, 2\)",
        ),
        (ValueError, lambda: upsample("cubic"), "upsample: mode must be one of .*, got 'cubic'"),
        (
            ValueError,
            lambda: upsample("bilinear")(2, 2, spatial_dims=3),
            "upsample: for mode 'bilinear' spatial_dims must be 2, got 3",
        ),
        (ValueError, lambda: upsample(kernel_size=2), "upsample: kernel_size must be odd, got 2"),
        (
            ValueError,
            lambda: pixel_shuffle(kernel_size=(3, 4)),
            "pixel_shuffle: kernel_size must be odd, got 4",
        ),
    ],
)
def test_bad_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()
