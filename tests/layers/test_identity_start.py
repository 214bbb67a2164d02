"""The layer that starts as the identity."""

import pytest
import torch
from torch import nn

from torchattn_blocks import CBAM, IdentityStart, SpatialAttention


def image(**options):
    return torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(0)).to(**options)


def test_it_starts_as_the_identity_and_moves():
    torch.manual_seed(0)
    layer, x = IdentityStart(SpatialAttention()), image()
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    gradients = {name: bool(w.grad.any()) for name, w in layer.named_parameters()}
    assert gradients.pop("alpha")
    assert not any(gradients.values())
    with torch.no_grad():
        layer.alpha.fill_(0.3)
    torch.testing.assert_close(layer(x), 0.7 * x + 0.3 * layer.layer(x))
    layer(x).square().sum().backward()
    assert all(w.grad.any() for w in layer.parameters())
    layer.reset_parameters()
    assert torch.equal(layer(x), x)


def test_the_input_keeps_its_dtype_beside_an_alpha_of_another():
    layer = IdentityStart(nn.Identity())
    assert layer(image(dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert sum(w.numel() for w in layer.parameters()) == 1


def test_another_shape_is_refused():
    layer = IdentityStart(nn.AvgPool2d(3))
    with pytest.raises(ValueError, match=r"shape of its input, \(2, 4, 9, 7\), got \(2, 4, 3, 2\)"):
        layer(image())


def test_a_layer_is_needed():
    with pytest.raises(TypeError, match="IdentityStart: layer must be a Module, got type"):
        IdentityStart(CBAM)
