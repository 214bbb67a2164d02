"""What the examples of this folder share: synthetic eyes, a head, a training loop, a picture."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchattn_blocks import DropSchedule, mean_and_std, monte_carlo, report
from torchattn_blocks.retina import synthesize

Levels = Callable[[nn.Module, Tensor], list[Tensor]]


def arguments(name: str, steps: int, side: int = 160) -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="of the optimizer")
    parser.add_argument("--side", type=int, default=side, help="of the images: a multiple of 32")
    parser.add_argument("--out", type=Path, default=Path(f"{name}.png"), help="the picture")
    return parser.parse_args()


def eyes(seeds: range, side: int) -> tuple[Tensor, Tensor]:
    """Synthetic images of retinas, (N, 3, side, side), and their vessels, (N, 1, side, side)."""
    drawn = [synthesize(seed, height=side, width=side) for seed in seeds]
    images = torch.from_numpy(np.stack([eye.image for eye in drawn])).permute(0, 3, 1, 2)
    vessels = torch.from_numpy(np.stack([eye.label for eye in drawn]))[:, None]
    return images / 255, vessels.float()


class Segmenter(nn.Module):
    """A network for segmentation from one for classification.

    A 1 x 1 convolution turns each position of a level into the logits of the pixels below it. The
    logits of all levels are added.
    """

    def __init__(self, network: nn.Module, levels: Levels, sizes: Mapping[int, int]) -> None:
        """Levels: the network's feature maps of an image. Sizes: their channels by stride."""
        super().__init__()
        self.network, self.levels = network, levels
        self.strides = list(sizes)
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, stride**2, 1) for stride, channels in sizes.items()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the shape of one channel of x."""
        levels = self.levels(self.network, x)
        logits = [
            F.pixel_shuffle(head(level), stride)
            for head, level, stride in zip(self.heads, levels, self.strides, strict=True)
        ]
        return torch.stack(logits).sum(0)


def train(
    model: nn.Module,
    steps: int,
    side: int,
    schedule: DropSchedule | None = None,
    learning_rate: float = 3e-3,
) -> None:
    """Train on twelve eyes, and print which of the model's layers ran in the last five steps."""
    images, vessels = eyes(range(12), side)
    scales = [p for p in model.parameters() if p.dim() < 2]  # best kept free of weight decay
    weights = [p for p in model.parameters() if p.dim() >= 2]
    groups = [{"params": weights}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    model.train()

    def step() -> None:
        picked = torch.randint(len(images), (4,))
        flips = [axis for axis in (-2, -1) if torch.rand(()) < 0.5]
        x, y = images[picked].flip(flips), vessels[picked].flip(flips)
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
    """An eye that was not trained on, and what every picture shows of it."""
    image, vessels = eyes(range(12, 13), side)
    with torch.no_grad():
        probability = model.eval()(image).sigmoid()
    shown = {
        "image (synthetic)": image[0].permute(1, 2, 0),
        "its vessels": vessels[0, 0],
        "probability of vessel": probability[0, 0],
    }
    return image, shown


def spread(model: nn.Module, image: Tensor, passes: int = 20) -> Tensor:
    """Where passes with DropBlock differ: the standard deviation of their probabilities."""
    with monte_carlo(model):
        return mean_and_std(lambda: model(image).sigmoid(), passes)[1][0, 0]


def save_picture(path: Path, shown: Mapping[str, Tensor], columns: int = 4) -> None:
    """One panel for each entry: a colour image, a map, or a number per bar."""
    from matplotlib.figure import Figure

    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.75 * rows), layout="constrained")
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    for (title, values), axis in zip(shown.items(), axes, strict=False):
        axis.set_title(title, fontsize=10)
        if values.dim() == 1:
            axis.bar(range(len(values)), values.tolist(), color="tab:purple")
            axis.axhline(0, color="black", linewidth=0.8)
            axis.tick_params(labelsize=8)
            continue
        top = None if values.dim() == 2 and values.max() < 0.5 else 1  # small maps: stretched
        axis.imshow(values.numpy(), cmap="magma", vmin=0, vmax=top, interpolation="nearest")
        axis.set_axis_off()
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=96)
    print(f"\nPicture: {path}")
