"""The attention gate against its formula, and what it promises about its two inputs."""

import pytest
import torch
from contract_rows import image
from torch import nn
from torch.nn import functional as F

from torchattn_blocks import AttentionGate


def formula(layer, gate, skip):
    """Equations 1 and 2 of the paper, with matrices in place of convolutions."""
    gating, own, psi = (c.weight.flatten(1) for c in (layer.gate_conv, layer.skip_conv, layer.psi))
    bias = layer.gate_conv.bias.view(-1, *[1] * (skip.dim() - 2))
    hidden = torch.einsum("hc,nc...->nh...", gating, gate) + bias
    hidden = F.relu(hidden + torch.einsum("hc,nc...->nh...", own, skip))
    return torch.sigmoid(torch.einsum("hc,nc...->nh...", psi, hidden) + layer.psi.bias)


@pytest.mark.parametrize("size", [(7,), (6, 5), (3, 4, 5)])
def test_equals_the_formula(size):
    layer = AttentionGate(5, 4, spatial_dims=len(size)).double()
    gate, skip = (torch.randn(2, c, *size, dtype=torch.float64) for c in (5, 4))
    torch.testing.assert_close(layer.attention_map(gate, skip), formula(layer, gate, skip))
    assert torch.equal(layer(gate, skip), skip * layer.attention_map(gate, skip))


@pytest.mark.parametrize(
    ("size", "mode"), [((5,), "linear"), ((5, 3), "bilinear"), ((2, 5, 3), "trilinear")]
)
def test_a_gate_of_another_size_is_interpolated(size, mode):
    layer = AttentionGate(3, 4, spatial_dims=len(size)).double()
    gate = torch.randn(2, 3, *size, dtype=torch.float64)
    skip = torch.randn(2, 4, *[2 * s + 1 for s in size], dtype=torch.float64)
    # A 1 x 1 convolution and an interpolation may change places.
    same_size = F.interpolate(gate, skip.shape[2:], mode=mode)
    torch.testing.assert_close(layer(gate, skip), layer(same_size, skip))


def test_parameters_as_documented():
    layer = AttentionGate(128, 64)
    assert sum(p.numel() for p in layer.parameters()) == 32 * (128 + 64 + 2) + 1
    assert AttentionGate(3, 1).psi.in_channels == 1
    assert AttentionGate(3, 8, hidden_channels=6).psi.in_channels == 6
    assert list(layer.state_dict()) == [
        "gate_conv.weight",
        "gate_conv.bias",
        "skip_conv.weight",
        "psi.weight",
        "psi.bias",
    ]


def test_dtype_and_memory_format_are_those_of_the_skip():
    layer = AttentionGate(3, 4, device="cpu", dtype=torch.bfloat16)
    skip = image(1, 4, 6, 6, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    y = layer(image(1, 3, 3, 3, dtype=torch.bfloat16), skip)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("strict", [False, True])
def test_in_a_decoder_it_exports_for_all_sizes(strict):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = AttentionGate(6, 3)

        def forward(self, deep, skip):
            return self.gate(deep, skip)

    size = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    inputs = image(2, 6, 5, 6), image(2, 3, 10, 12)
    program = torch.export.export(Decoder(), inputs, dynamic_shapes=(size, size), strict=strict)
    inputs = image(3, 6, 7, 4), image(3, 3, 14, 8)
    torch.testing.assert_close(program.module()(*inputs).shape, inputs[1].shape)


def test_bad_inputs():
    layer = AttentionGate(6, 3)
    with pytest.raises(ValueError, match=r"AttentionGate: gate must have 6 channels, got shape"):
        layer(image(), image())
    with pytest.raises(ValueError, match=r"AttentionGate: skip must have 3 channels, got shape"):
        layer(image(1, 6, 4, 4), image(1, 6, 4, 4))
    with pytest.raises(ValueError, match=r"AttentionGate: skip must have 4 dimensions"):
        layer(image(1, 6, 4, 4), image()[0])
    with pytest.raises(ValueError, match="gate must have the batch size of skip, 1, got 2"):
        layer(image(2, 6, 4, 4), image(1, 3, 4, 4))
    with pytest.raises(TypeError, match=r"AttentionGate: gate must be a floating-point tensor"):
        layer(None, image())
    with pytest.raises(ValueError, match="AttentionGate: gate_channels must be at least 1, got 0"):
        AttentionGate(0, 3)
    with pytest.raises(ValueError, match="AttentionGate: spatial_dims must be at most 3, got 4"):
        AttentionGate(3, 3, spatial_dims=4)
