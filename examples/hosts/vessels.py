"""Shared code of the examples here: synthetic eyes, a head, a training loop, a picture."""

import argparse
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchattn_blocks import DropSchedule, mean_and_std, monte_carlo, report
from torchattn_blocks.retina import synthesize

Levels = Callable[[nn.Module, Tensor], list[Tensor]]


def arguments(name: str, steps: int, side: int = 256) -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="of the optimizer")
    parser.add_argument("--side", type=int, default=side, help="of the images: a multiple of 64")
    parser.add_argument("--out", type=Path, default=Path(f"{name}.png"), help="the picture")
    return parser.parse_args()


def eyes(seeds: range, side: int) -> tuple[Tensor, Tensor]:
    """Synthetic images of retinas, (N, 3, side, side), and their vessels, (N, 1, side, side)."""
    drawn = [synthesize(seed, height=side, width=side) for seed in seeds]
    images = torch.from_numpy(np.stack([eye.image for eye in drawn])).permute(0, 3, 1, 2)
    vessels = torch.from_numpy(np.stack([eye.label for eye in drawn]))[:, None]
    return images / 255, vessels.float()


def contrast(images: Tensor) -> Tensor:
    """The network's input: images without slow changes of brightness."""
    blurred = F.avg_pool2d(images, 31, 1, 15, count_include_pad=False)
    return (images - blurred) / 0.05


class Segmenter(nn.Module):
    """A network for segmentation, made from a network for classification.

    A 1 x 1 convolution turns each position of a level into the logits of 4 x 4 pixels (fewer at
    smaller strides). They are resized to the image and added.
    """

    def __init__(self, network: nn.Module, levels: Levels, sizes: Mapping[int, int]) -> None:
        """Levels: the network's feature maps of an image. Sizes: their channels by stride."""
        super().__init__()
        self.network, self.levels = network, levels
        self.heads = nn.ModuleList()
        for stride, channels in sizes.items():
            pixels = min(stride, 4)
            head = nn.Sequential(nn.Conv2d(channels, pixels**2, 1), nn.PixelShuffle(pixels))
            self.heads.append(head)

    def forward(self, x: Tensor) -> Tensor:
        """Logits with the shape of one channel of x."""
        levels = self.levels(self.network, x)
        logits = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        resized = [F.interpolate(one, x.shape[2:], mode="bilinear") for one in logits]
        return torch.stack(resized).sum(0)


def train(
    model: nn.Module,
    steps: int,
    side: int,
    schedule: DropSchedule | None = None,
    learning_rate: float = 3e-3,
) -> None:
    """Train on crops of eight eyes and print which layers ran in the last five steps."""
    images, vessels = eyes(range(8), side)
    pairs = torch.cat([contrast(images), vessels], 1)
    crop = side // 2
    scales = [p for p in model.parameters() if p.dim() < 2]  # use no weight decay for these
    weights = [p for p in model.parameters() if p.dim() >= 2]
    groups = [{"params": weights}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    model.train()

    def step() -> None:
        corners = torch.randint(side - crop + 1, (4, 2)).tolist()
        eye = torch.randint(len(pairs), (4,)).tolist()
        crops = [
            pairs[i, :, top : top + crop, left : left + crop]
            for i, (top, left) in zip(eye, corners, strict=True)
        ]
        flips = [axis for axis in (-2, -1) if torch.rand(()) < 0.5]
        x, y = torch.stack(crops).flip(flips).split([3, 1], 1)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        rates.step()
        if schedule is not None:
            schedule.step()

    last = min(5, steps)
    for _ in range(steps - last):
        step()
    with report(model) as used:
        for _ in range(last):
            step()
    print(used)


def loss(logits: Tensor, vessels: Tensor) -> Tensor:
    """Cross-entropy plus one minus the Dice coefficient."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * vessels).sum() / (probability + vessels).sum()
    return F.binary_cross_entropy_with_logits(logits, vessels) + 1 - overlap


def panels(model: nn.Module, side: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The input for an eye outside the training set, and the panels that every picture shows."""
    image, vessels = eyes(range(8, 9), side)
    x = contrast(image)
    with torch.no_grad():
        probability = model.eval()(x).sigmoid()
    shown = {
        "image (synthetic)": image[0].permute(1, 2, 0),
        "its vessels": vessels[0, 0],
        "probability of vessel": probability[0, 0],
    }
    return x, shown


def spread(model: nn.Module, x: Tensor, passes: int = 20) -> Tensor:
    """The standard deviation of the probabilities over passes with DropBlock."""
    with monte_carlo(model):
        return mean_and_std(lambda: model(x).sigmoid(), passes)[1][0, 0]


def save_picture(path: Path, shown: Mapping[str, Tensor], columns: int = 4) -> None:
    """One panel for each entry: an image, a map, or numbers as bars."""
    from matplotlib.figure import Figure
    from PIL import Image

    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.95 * rows), layout="constrained")
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    for (title, values), axis in zip(shown.items(), axes, strict=False):
        low, high = 0.0, 1.0
        if values.dim() == 2:  # from its lowest to its highest value, without outliers
            low, high = values.quantile(torch.tensor([0.02, 0.98])).tolist()
            title += f"\n{round(low, 4):.2g} to {round(high, 4):.2g}"
        axis.set_title(title, fontsize=9)
        if values.dim() == 1:
            axis.bar(range(len(values)), values.tolist(), color="tab:purple")
            axis.axhline(0, color="black", linewidth=0.8)
            continue
        axis.imshow(values.numpy(), cmap="magma", vmin=low, vmax=high, interpolation="nearest")
        axis.set_axis_off()
    for axis in axes:
        axis.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=96)
    Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)  # a third of the bytes
    print(f"\nPicture: {path}")
