"""DropBlock in a residual network in plain torch, trained on synthetic retinal vessels.

python examples/hosts/torch_resnet.py
"""

import torch
from torch import nn
from vessels import Segmenter, arguments, panels, save_picture, spread, train

from torchattn_blocks import DropBlock2d, DropSchedule, insert_after, replace


class Block(nn.Module):
    """A typical residual block: a shortcut, and a ReLU that is called twice."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two convolutions, added to the shortcut."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """A small network for classification."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.dropout = nn.Dropout2d(0.1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes."""
        x = self.dropout(self.layer2(self.layer1(self.stem(x))))
        return self.fc(self.pool(x).flatten(1))


# The network, and the network with DropBlock.
def network() -> nn.Module:
    return ResNet(width=16)  # load your own weights here, or later


def changed(network: nn.Module) -> nn.Module:
    network = insert_after(network, "layer?.*.bn?", lambda norm: DropBlock2d(0.1, block_size=7))
    return replace(network, nn.Dropout2d, lambda old: DropBlock2d(old.p, block_size=7))


# The end of what the documentation shows.


def levels(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    stem = network.stem(x)
    first = network.layer1(stem)
    return [first, network.dropout(network.layer2(first))]


def main() -> None:
    args = arguments("torch_resnet", steps=100)
    torch.manual_seed(0)
    model = Segmenter(changed(network()), levels, {1: 16, 2: 32})
    schedule = DropSchedule(model, start=0.0, stop=None, steps=max(1, args.steps // 2))
    train(model, args.steps, args.side, schedule)
    x, shown = panels(model, args.side)
    shown["spread of 20 passes"] = spread(model, x)
    save_picture(args.out, shown)


if __name__ == "__main__":
    main()
