"""Spatial attention against the textbook form, and the promises of its docstring."""

import copy
import math
import pickle

import pytest
import torch
from contract_rows import bytes_saved
from hypothesis import given, settings
from hypothesis import strategies as st

from torchattn_blocks import SpatialAttention
from torchattn_blocks.functional import spatial_attention


def textbook(x, weight, bias=None):
    """Equation 3 of CBAM, position by position over a zero border."""
    size = weight.shape[-1]
    summary = torch.stack([x.max(dim=1).values, x.mean(dim=1)], dim=1)
    windows = torch.nn.functional.unfold(summary, size, padding=size // 2)  # (N, 2 k k, H W)
    logits = weight.reshape(1, -1) @ windows
    logits = logits if bias is None else logits + bias
    return x * torch.sigmoid(logits.reshape(x.shape[0], 1, *x.shape[2:]))


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20)),
    size=st.sampled_from([1, 3, 7, 9]),
    bias=st.booleans(),
)
@settings(max_examples=60)
def test_equals_the_textbook_form(shape, size, bias):
    x = torch.randn(shape, dtype=torch.float64)
    layer = SpatialAttention(kernel_size=size, bias=bias).double()
    if bias:
        torch.nn.init.normal_(layer.conv.bias)
    y = layer(x)
    torch.testing.assert_close(y, textbook(x, layer.conv.weight, layer.conv.bias))
    assert torch.equal(y, x * layer.attention_map(x))
    assert torch.equal(y, spatial_attention(x, layer.conv.weight, layer.conv.bias))
    assert layer.attention_map(x).shape == (shape[0], 1, *shape[2:])


def test_parameters():
    count = {b: sum(w.numel() for w in SpatialAttention(bias=b).parameters()) for b in (0, 1)}
    assert count == {0: 98, 1: 99}


def test_maximum_comes_before_mean():
    x = torch.tensor([3.0, -1.0, 1.0]).view(1, 3, 1, 1)
    weight = torch.zeros(1, 2, 1, 1)
    weight[0, 0] = 2.0
    assert spatial_attention(x, weight)[0, 0].item() == pytest.approx(3 / (1 + math.exp(-6)))


def test_starts_from_he_normal():
    torch.manual_seed(0)
    weights = torch.cat([SpatialAttention().conv.weight.flatten() for _ in range(300)])
    assert weights.std().item() == pytest.approx(math.sqrt(2 / 98), rel=0.02)
    assert not SpatialAttention(bias=True).conv.bias.any()
    assert weights.abs().max() < 2.3 * math.sqrt(2 / 98)


def test_gradients():
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(spatial_attention, (x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtype_and_memory_format_are_kept(dtype):
    x = torch.randn(2, 8, 9, 7, dtype=dtype).contiguous(memory_format=torch.channels_last)
    y = SpatialAttention().to(dtype)(x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_autocast_keeps_the_dtype_of_the_input():
    layer, x = SpatialAttention(), torch.randn(2, 8, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32
        assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_copies():
    layer = SpatialAttention(kernel_size=5, bias=True)
    x = torch.randn(1, 2, 6, 6)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))
        assert repr(copied) == repr(layer)
    assert list(layer.state_dict()) == ["conv.weight", "conv.bias"]


@pytest.mark.parametrize(
    ("error", "size", "message"),
    [
        (ValueError, 4, "kernel_size must be odd, got 4"),
        (ValueError, 0, "kernel_size must be at least 1, got 0"),
        (TypeError, 7.0, "kernel_size must be an int, got 7.0"),
    ],
)
def test_bad_kernel_sizes(error, size, message):
    with pytest.raises(error, match=f"SpatialAttention: {message}"):
        SpatialAttention(kernel_size=size)


@pytest.mark.parametrize("shape", [(2, 7, 7), (1, 3, 7, 7), (1, 2, 7, 5), (1, 2, 4, 4)])
def test_bad_weights(shape):
    with pytest.raises(ValueError, match=r"spatial_attention: weight .*\(1, 2, k, k\)"):
        spatial_attention(torch.ones(1, 3, 8, 8), torch.ones(shape))


def test_bad_inputs():
    with pytest.raises(ValueError, match="SpatialAttention: x must have 4 dimensions"):
        SpatialAttention()(torch.ones(3, 8, 8))
    with pytest.raises(TypeError, match=r"floating-point tensor, got torch\.uint8"):
        SpatialAttention()(torch.ones(1, 3, 8, 8, dtype=torch.uint8))


def test_holds_the_input_and_a_few_maps_of_one_channel():
    x = torch.randn(2, 16, 9, 7, requires_grad=True)
    one_channel = 4 * 2 * 9 * 7
    # The maximum, what goes into the convolution (two channels), the map.
    assert bytes_saved(SpatialAttention(), x) == [one_channel, one_channel, 2 * one_channel]


@pytest.mark.parametrize("spatial_dims", [1, 3])
def test_the_function_takes_other_dimensions(spatial_dims):
    x = torch.randn(2, 3, *(5, 6, 4)[:spatial_dims])
    layer = SpatialAttention(kernel_size=3, bias=True, spatial_dims=spatial_dims)
    expected = spatial_attention(x, layer.conv.weight, layer.conv.bias)
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match=f"x must have {spatial_dims + 2} dimensions"):
        spatial_attention(x[0], layer.conv.weight)


class Views(torch.nn.Module):
    """A child that needs contiguous memory, as nothing promises a channels-last one."""

    def forward(self, x):
        return x.view(x.shape[0], -1).view(x.shape).sum(1, keepdim=True)


def test_a_child_in_the_place_of_the_convolution_gets_contiguous_memory():
    layer, x = SpatialAttention(), torch.randn(2, 3, 5, 6)
    layer.conv = Views()
    expected = (x.amax(1, keepdim=True) + x.mean(1, keepdim=True)).sigmoid()
    torch.testing.assert_close(layer.attention_map(x), expected)


def test_with_batch_normalisation():
    layer = SpatialAttention(norm=torch.nn.BatchNorm2d)
    assert sum(w.numel() for w in layer.parameters()) == 100
    x = torch.randn(4, 3, 8, 8)
    logits = (layer.attention_map(x) / (1 - layer.attention_map(x))).log()
    assert logits.mean().item() == pytest.approx(0, abs=1e-4)
    assert logits.std().item() == pytest.approx(1, abs=0.02)
