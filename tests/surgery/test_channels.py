"""The channels that `in_channels` and `out_channels` read off modules."""

import pytest
import torch
from torch import nn
from torch_resnet import Block, ResNet

from torchattn_blocks import in_channels, out_channels, rsan


@pytest.mark.parametrize(
    ("module", "taken", "returned"),
    [
        (nn.Conv1d(2, 3, 1), 2, 3),
        (nn.Conv2d(4, 6, 1, groups=2), 4, 6),
        (nn.ConvTranspose3d(2, 3, 1), 2, 3),
        (nn.LazyConv2d(3, 1), 0, 3),
        (nn.Linear(5, 7), 5, 7),
        (nn.Bilinear(2, 3, 4), None, 4),
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
    if taken is not None:
        assert in_channels(module) == taken
    assert out_channels(module) == returned


def test_attributes_that_are_no_numbers_are_passed_over():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.out_channels = [3, 8]  # of each level, as some libraries have it
            self.conv = nn.Conv2d(3, 8, 1)

    assert out_channels(Encoder()) == 8
    for module in (nn.ReLU(), nn.LayerNorm([4, 5]), nn.Sequential()):
        kind = type(module).__name__
        for function in (in_channels, out_channels):
            message = f"{function.__name__}: module must have a convolution, .*, got {kind}"
            with pytest.raises(ValueError, match=message):
                function(module)
            with pytest.raises(TypeError, match="module must be a Module, got Tensor"):
                function(torch.ones(1))
