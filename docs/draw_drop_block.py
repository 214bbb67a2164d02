"""Draw the figures of DropBlock in docs/images: masks, kept fractions, mean factors.

python docs/draw_drop_block.py

The kept fractions are those of docs/drop_block/facts.json, which benchmarks/report.py writes.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torchattn_blocks.functional import drop_block2d
from torchattn_blocks.retina import synthesize

DOCS = Path(__file__).parent
P = 0.15
SIZES = (7, 14, 28, 74, 592)
BOTTOM = 0.68  # of the axis of kept fractions; what lies below is written there


def feature_map(image: Tensor) -> Tensor:
    """How much darker each pixel is than its surroundings, (1, 3, H, W) -> (1, 1, H, W)."""
    green = image[:, 1:2]
    return (F.avg_pool2d(green, 15, 1, 7) - F.avg_pool2d(green, 3, 1, 1)).relu()


def dropped(features: Tensor, p: float, block_size: int, generator: torch.Generator) -> Tensor:
    """The feature map, NaN where a block lies."""
    # On ones, to tell what was dropped from features that are zero.
    mask = drop_block2d(torch.ones_like(features), p, block_size, generator=generator)
    return features.masked_fill(mask == 0, torch.nan)[0, 0]


def show(axis: plt.Axes, values: np.ndarray | Tensor, title: str, top: float) -> None:
    """Draw a feature map, white where it is NaN."""
    colours = plt.get_cmap("viridis").with_extremes(bad="white")
    axis.imshow(values, cmap=colours, interpolation="nearest", vmax=top)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


def draw_masks() -> None:
    """An image, its feature map, and blocks of three sizes; and blocks of all sizes and rates."""
    fundus = synthesize(3, height=148, width=144)
    image = torch.from_numpy(fundus.image).permute(2, 0, 1)[None] / 255.0
    features = feature_map(image) * torch.from_numpy(fundus.fov)
    top = features.max()
    generator = torch.Generator().manual_seed(0)
    panels = {"image": fundus.image, "feature map": features[0, 0]}
    for size in (1, 7, 15):
        panels[f"p = {P:g}, block_size = {size}"] = dropped(features, P, size, generator)
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 2.8), layout="constrained")
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        show(axis, values, title, top)
    figure.savefig(DOCS / "images" / "masks.png", dpi=100)

    figure, axes = plt.subplots(3, 4, figsize=(9, 7.3), layout="constrained")
    for row, p in zip(axes, (0.05, 0.15, 0.3), strict=True):
        for axis, size in zip(row, (1, 3, 7, 15), strict=True):
            values = dropped(features, p, size, generator)
            show(axis, values, f"p = {p:g}, block_size = {size}", top)
    figure.savefig(DOCS / "images" / "masks_by_size.png", dpi=100)


def draw_kept_fractions() -> None:
    """What fraction each library keeps when asked for 0.85, by the size of the feature map."""
    recorded = json.loads((DOCS / "drop_block" / "facts.json").read_text())
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, facts in recorded["facts"].items():
        if name.endswith(("scale=position", "max-pooling")):
            continue  # keeps what the default, and what the paper's formula, keeps
        kept = [float(facts[f"keeps, asked {1 - P:g}, {size}x{size}"]) for size in SIZES]
        ours = name == "torchattn_blocks"
        version = recorded["versions"].get(name, "")
        line = axis.plot(SIZES, kept, "o-", label=f"{name} {version}", lw=3 if ours else 1.2, ms=4)
        if kept[0] < BOTTOM:
            colour = line[0].get_color()
            place = {"xytext": (6.4, BOTTOM + 0.012), "color": colour, "fontsize": 8}
            axis.annotate(f"{kept[0]:.2f} on 7 x 7", (SIZES[0], BOTTOM), **place)
    axis.axhline(1 - P, color="black", lw=0.8, ls=":")
    axis.set_xscale("log")
    axis.set_xticks(SIZES, [f"{size} x {size}" for size in SIZES], minor=False)
    axis.minorticks_off()
    axis.set_ylim(bottom=BOTTOM)
    axis.set_xlabel("feature map, block_size = 7")
    axis.set_ylabel(f"fraction kept, asked: {1 - P:g}")
    axis.legend(fontsize=8)
    figure.savefig(DOCS / "images" / "kept_fraction.png", dpi=100)


def draw_mean_factors() -> None:
    """By what each position of a small feature map is multiplied on average."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
    x = torch.ones(1, 100_000, 14, 14)
    for axis, scale in zip(axes, ("constant", "position"), strict=True):
        generator = torch.Generator().manual_seed(0)
        y = drop_block2d(x, P, 7, scale=scale, generator=generator)
        picture = axis.imshow(y[0].mean(0), cmap="RdBu", vmin=0.6, vmax=1.4)
        axis.set_title(f'scale="{scale}"', fontsize=10)
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, label="mean factor")
    figure.savefig(DOCS / "images" / "mean_factor.png", dpi=100)


if __name__ == "__main__":
    draw_masks()
    draw_kept_fractions()
    draw_mean_factors()
