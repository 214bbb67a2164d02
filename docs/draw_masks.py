"""Draw docs/images/masks.png: DropBlock on a feature map of a synthetic image.

python docs/draw_masks.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.nn import functional as F

from torchattn_blocks.functional import drop_block2d
from torchattn_blocks.retina import synthesize

OUT = Path(__file__).parent / "images" / "masks.png"
P = 0.15


def feature_map(image: Tensor) -> Tensor:
    """How much darker each pixel is than its surroundings, (1, 3, H, W) -> (1, 1, H, W)."""
    green = image[:, 1:2]
    return (F.avg_pool2d(green, 15, 1, 7) - F.avg_pool2d(green, 3, 1, 1)).relu()


def main() -> None:
    """Draw the picture."""
    fundus = synthesize(3, height=148, width=144)
    image = torch.from_numpy(fundus.image).permute(2, 0, 1)[None] / 255.0
    features = feature_map(image) * torch.from_numpy(fundus.fov)
    panels = {"image": fundus.image, "feature map": features[0, 0]}
    generator = torch.Generator().manual_seed(0)
    for size in (1, 7, 15):
        # On ones, to tell what was dropped from features that are zero.
        mask = drop_block2d(torch.ones_like(features), P, size, generator=generator)[0, 0]
        kept = (features[0, 0] * mask).masked_fill(mask == 0, torch.nan)
        panels[f"p = {P:g}, block_size = {size}"] = kept
    colours = plt.get_cmap("viridis").with_extremes(bad="white")
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 2.8), layout="constrained")
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        axis.imshow(values, cmap=colours, interpolation="nearest", vmax=features.max())
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.savefig(OUT, dpi=100)


if __name__ == "__main__":
    main()
