"""Each attention layer as its paper reads, in plain torch functions whose gradients are torch's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialAttention(nn.Module):
    """Weigh each position by maximum and mean over the channels."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * self.norm(self.conv(summary)).sigmoid()


class ChannelAttention(nn.Module):
    """Weigh each channel by maximum and mean over the positions."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        largest = self.fc2(self.fc1(F.adaptive_max_pool2d(x, 1)).relu())
        mean = self.fc2(self.fc1(F.adaptive_avg_pool2d(x, 1)).relu())
        return x * (largest + mean).sigmoid()


def cbam(channels: int, hidden: int, norm: bool = False) -> nn.Module:
    return nn.Sequential(ChannelAttention(channels, hidden), SpatialAttention(norm))


class SqueezeExcite(nn.Module):
    """Weigh each channel by the means of all."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def weights(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(F.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x)


class ConcurrentSqueezeExcite(SqueezeExcite):
    """Weigh each channel by the means of all, each position by its channels, and add the two."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(channels, hidden)
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x) + x * self.conv(x).sigmoid()


class EfficientChannelAttention(nn.Module):
    """Weigh each channel by the means of its neighbours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int((math.log2(channels) + 1) / 2) // 2 * 2 + 1
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x, 1)[..., 0].transpose(1, 2)
        return x * self.conv(means).sigmoid().transpose(1, 2)[..., None]


class GlobalContext(nn.Module):
    """Add to each channel what a weighted mean of all positions says, or multiply it by that."""

    def __init__(self, channels: int, hidden: int, add: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.LayerNorm((hidden, 1, 1), eps=1e-6)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv(x).flatten(2).softmax(2)
        context = (x.flatten(2) @ weights.transpose(1, 2))[..., None]
        change = self.fc2(self.norm(self.fc1(context)).relu())
        return x + change if self.add else x * change.sigmoid()


class CoordinateAttention(nn.Module):
    """Weigh each row and each column of each channel."""

    def __init__(self, channels: int, hidden: int, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.conv_w = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
        both = F.hardswish(self.bn1(self.conv1(torch.cat([rows, columns.mT], 2))))
        rows, columns = both.split([x.shape[2], x.shape[3]], 2)
        return x * self.conv_w(columns.mT).sigmoid() * self.conv_h(rows).sigmoid()


class TripletAttention(nn.Module):
    """Weigh each element by three spatial attentions of the turned feature maps."""

    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(2, 1, 7, padding=3, bias=False) for _ in range(3)]
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(map(nn.BatchNorm2d, [1] * 3))

    def gated(self, x: Tensor, i: int) -> Tensor:
        summary = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * self.norms[i](self.convs[i](summary)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        by_rows = self.gated(x.transpose(1, 2).contiguous(), 1).transpose(1, 2)
        by_columns = self.gated(x.transpose(1, 3).contiguous(), 2).transpose(1, 3)
        return (self.gated(x, 0) + by_rows + by_columns) / 3


class BAM(nn.Module):
    """Weigh each element by one plus a weight from its channel and its position."""

    def __init__(self, channels: int, hidden: int, add: bool = True) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        steps: list[nn.Module] = [nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU()]
        for _ in range(2):
            conv = nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4)
            steps += [conv, nn.BatchNorm2d(hidden), nn.ReLU()]
        self.position = nn.Sequential(*steps, nn.Conv2d(hidden, 1, 1))
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        by_channel = self.channel(F.adaptive_avg_pool2d(x, 1).flatten(1))[..., None, None]
        by_position = self.position(x)
        both = by_channel + by_position if self.add else by_channel * by_position
        return x * (1 + both.sigmoid())


class SimAM(nn.Module):
    """Weigh each element by its distance from the mean of its channel."""

    def forward(self, x: Tensor) -> Tensor:
        squares = (x - x.mean((2, 3), keepdim=True)) ** 2
        variance = squares.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)
        return x * (squares / (4 * (variance + 1e-4)) + 0.5).sigmoid()


class AttentionGate(nn.Module):
    """Weigh each position of a skip connection by itself and a gate of the same size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.gate_conv = nn.Conv2d(channels, hidden, 1)
        self.skip_conv = nn.Conv2d(channels, hidden, 1, bias=False)
        self.psi = nn.Conv2d(hidden, 1, 1)

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        return skip * self.psi((self.gate_conv(gate) + self.skip_conv(skip)).relu()).sigmoid()
