"""The channels that `in_channels` and `out_channels` read off modules."""

import pytest
import torch
from torch import nn
from torch_resnet import Block, ResNet

from torchattn_blocks import CBAM, in_channels, insert_after, insert_before, out_channels, rsan


@pytest.mark.parametrize(
    ("module", "taken", "returned"),
    [
        (nn.Conv1d(2, 3, 1), 2, 3),
        (nn.Conv2d(4, 6, 1, groups=2), 4, 6),
        (nn.ConvTranspose3d(2, 3, 1), 2, 3),
        (nn.Linear(5, 7), 5, 7),
        (nn.BatchNorm2d(5), 5, 5),
        (nn.SyncBatchNorm(5), 5, 5),
        (nn.InstanceNorm3d(5), 5, 5),
        (nn.GroupNorm(2, 6), 6, 6),
        (nn.LayerNorm(5), 5, 5),
        (nn.LayerNorm([5]), 5, 5),
        (nn.RMSNorm(5), 5, 5),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU()), 2, 3),
        (nn.ModuleList([nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4), nn.Tanh())]), 2, 4),
        (Block(8, 16), 8, 16),
        (ResNet().layer2, 8, 16),
        (rsan(widths=(4, 8)), 3, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_read(module, taken, returned):
    assert (in_channels(module), out_channels(module)) == (taken, returned)


def test_attributes_that_are_no_numbers_are_passed_over():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_features = 100  # of another head, as some libraries have it
            self.in_channels, self.out_channels = 3, [3, 8]  # of each level
            self.conv = nn.Conv2d(3, 8, 1)

    assert out_channels(Encoder()) == 8
    concatenating = Encoder()
    concatenating.out_channels = 11  # which it knows better than its convolution
    assert (in_channels(concatenating), out_channels(concatenating)) == (3, 11)
    assert out_channels(nn.LazyConv2d(3, 1)) == 3
    with pytest.raises(ValueError, match=r"in_channels: module must .* not lazy, got LazyConv2d"):
        in_channels(nn.LazyConv2d(3, 1))
    for module in (nn.ReLU(), nn.LayerNorm([4, 5]), nn.Sequential(), nn.LazyBatchNorm2d()):
        kind = type(module).__name__
        for function in (in_channels, out_channels):
            message = f"{function.__name__}: module must have a convolution, .*, got {kind}"
            with pytest.raises(ValueError, match=message):
                function(module)
            with pytest.raises(TypeError, match="module must be a Module, got Tensor"):
                function(torch.ones(1))


def test_inserted_layers_and_attention_are_passed_over():
    block = Block(8, 16)
    block.attention = CBAM(16)  # registered last
    assert (in_channels(block), out_channels(block)) == (8, 16)
    net = insert_after(nn.Sequential(Block(8, 16)), Block, lambda m: nn.Conv2d(16, 1, 1))
    net = insert_before(net, Block, lambda m: nn.Conv2d(1, 8, 1))
    net = insert_before(net, "0.conv1", lambda m: nn.Conv2d(1, 8, 1))
    assert (in_channels(net[0]), out_channels(net[0])) == (8, 16)
    assert (in_channels(net), out_channels(net)) == (8, 16)
