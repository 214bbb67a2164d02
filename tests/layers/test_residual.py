"""The residual blocks against their equations, and their slots."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchattn_blocks import RSAB, DropBlock2d, PreActResidual, SpatialAttention

sizes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 20), st.integers(1, 20))


@given(shape=sizes, out_channels=st.integers(1, 6))
@settings(max_examples=30)
def test_shapes(shape, out_channels):
    n, c, h, w = shape
    x = torch.randn(shape)
    assert PreActResidual(c, out_channels).eval()(x).shape == (n, out_channels, h, w)
    assert RSAB(c).eval()(x).shape == shape


def randomise(block):
    """Weights and running statistics such that no part of the block is close to the identity."""
    for values in block.state_dict().values():
        if values.is_floating_point():
            nn.init.uniform_(values, 0.2, 1.0)
    return block


def test_equals_its_equation_in_the_order_of_the_figure():
    block = randomise(PreActResidual(3, 5)).eval()
    x = torch.randn(2, 3, 9, 8)
    h = block.conv1(torch.relu(block.norm1(x)))
    h = block.conv2(torch.relu(block.norm2(h)))
    torch.testing.assert_close(block(x), h + block.shortcut(x))
    assert isinstance(block.shortcut, nn.Conv2d)
    assert block.shortcut.kernel_size == (1, 1)


def test_rsab_weighs_the_branch_and_not_the_shortcut():
    block = randomise(RSAB(4)).eval()
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(block(x), block.attention(block.branch(x)) + x)
    assert isinstance(block.attention, SpatialAttention)
    assert isinstance(block.shortcut, nn.Identity)


def test_drop_blocks_stand_behind_both_convolutions_with_the_papers_settings():
    layers = [m for m in RSAB(4).modules() if isinstance(m, nn.Conv2d | DropBlock2d)]
    kinds = [type(m).__name__ for m in layers]
    assert kinds == ["Conv2d", "DropBlock2d", "Conv2d", "DropBlock2d", "Conv2d"]
    assert {
        (d.p, d.block_size, d.gamma, d.scale) for d in layers if isinstance(d, DropBlock2d)
    } == {(0.15, (7, 7), "paper", "batch")}


def test_training_drops_blocks_of_the_branch():
    block = PreActResidual(4, drop=lambda: DropBlock2d(1.0))
    x = torch.randn(2, 4, 9, 8)
    assert torch.equal(block(x), x)  # all of the branch dropped: the shortcut is left
    assert not torch.equal(block.eval()(x), x)


def test_slots():
    made = []

    def attention(channels):
        made.append(channels)
        return nn.Identity()

    block = RSAB(
        6,
        attention=attention,
        drop=None,
        norm=lambda c: nn.GroupNorm(2, c),
        activation=nn.SiLU,
    )
    kinds = {type(m) for m in block.modules()}
    assert {nn.GroupNorm, nn.SiLU} < kinds
    assert not {nn.BatchNorm2d, nn.ReLU, DropBlock2d} & kinds
    assert made == [6]
    x = torch.randn(1, 6, 8, 8)
    torch.testing.assert_close(block(x), block.branch(x) + x)


@pytest.mark.parametrize("block", [PreActResidual(3, 5), RSAB(3)], ids=["residual", "rsab"])
def test_input_is_untouched_and_gradients_reach_every_parameter(block):
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    before = x.detach().clone()
    torch.manual_seed(0)
    block(x).square().sum().backward()
    assert torch.equal(x.detach(), before)
    assert x.grad is not None
    assert [n for n, w in block.named_parameters() if w.grad is None or not w.grad.any()] == []


@pytest.mark.parametrize("block", [PreActResidual, RSAB])
def test_the_shortcut_takes_the_input_itself_even_where_nothing_normalises(block):
    layer = block(3, drop=None, norm=lambda c: nn.Identity())
    nn.init.zeros_(layer.conv2.weight)
    nn.init.zeros_(layer.conv2.bias)
    x = torch.randn(2, 3, 9, 8)
    before = x.clone()
    assert torch.equal(layer(x), before)
    assert torch.equal(x, before)


def test_state_dict_keys_are_the_recorded_ones():
    keys = {key.rsplit(".", 1)[0] for key in RSAB(3).state_dict()}
    assert keys == {"norm1", "conv1", "norm2", "conv2", "attention.conv"}
    keys = {key.rsplit(".", 1)[0] for key in PreActResidual(3, 5).state_dict()}
    assert keys == {"norm1", "conv1", "norm2", "conv2", "shortcut"}


@pytest.mark.parametrize("block", [PreActResidual, RSAB])
def test_bad_arguments(block):
    name = block.__name__
    channels = "channels" if block is RSAB else "in_channels"
    with pytest.raises(ValueError, match=f"{name}: {channels} must be at least 1, got 0"):
        block(0)
    with pytest.raises(TypeError, match=f"{name}: {channels} must be an int, got 3.0"):
        block(3.0)
    with pytest.raises(
        ValueError, match=rf"{name}: x must have 3 channels, got shape \(1, 4, 8, 8\)"
    ):
        block(3)(torch.ones(1, 4, 8, 8))
    with pytest.raises(ValueError, match=f"{name}: x must have 4 dimensions"):
        block(3)(torch.ones(3, 8, 8))
