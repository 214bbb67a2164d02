"""Draw the slots of a U-Net, in docs/images/unet_slots.png.

python docs/draw_unet.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).parent / "images" / "unet_slots.png"
COLOURS = {
    "stage": "#cfe2f3",
    "bottleneck": "#f9cb9c",
    "decoder_stage": "#d9ead3",
    "step": "#eeeeee",
}
ENCODER, SKIP, DECODER = 1.4, 4.8, 8.2  # columns
HEIGHTS = (5.0, 3.0, 1.0)  # of the levels


def box(axes: Axes, x: float, y: float, name: str, kind: str, width: float = 2.4) -> None:
    """A slot, or a fixed part, with its name."""
    height = 0.62 if kind == "step" else 0.8
    corner = (x - width / 2, y - height / 2)
    style = {"boxstyle": "round,pad=0.02,rounding_size=0.12", "edgecolor": "#444444"}
    axes.add_patch(FancyBboxPatch(corner, width, height, facecolor=COLOURS[kind], **style))
    font = "monospace" if name.islower() and "×" not in name else "sans-serif"
    axes.text(x, y, name, ha="center", va="center", fontsize=11, family=font)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the border of one box to that of another."""
    style = {"arrowstyle": "-|>", "color": "#444444", "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def main() -> None:
    """Draw two levels, the bottleneck, and what leads from one to the next."""
    figure, axes = plt.subplots(figsize=(10, 4.4), dpi=110)
    axes.text(-0.6, HEIGHTS[0], "image", ha="right", va="center", fontsize=11)
    arrow(axes, (-0.45, HEIGHTS[0]), (ENCODER - 1.22, HEIGHTS[0]))
    for level, y in enumerate(HEIGHTS[:2]):
        box(axes, ENCODER, y, "stage", "stage")
        box(axes, SKIP, y, "skip", "step", 1.3)
        box(axes, DECODER, y, "decoder_stage", "decoder_stage", 2.9)
        arrow(axes, (ENCODER + 1.22, y), (SKIP - 0.67, y))
        arrow(axes, (SKIP + 0.67, y), (DECODER - 1.47, y))
        below = HEIGHTS[level + 1]
        between = (y + below) / 2
        box(axes, ENCODER, between, "down", "step", 1.3)
        arrow(axes, (ENCODER, y - 0.42), (ENCODER, between + 0.33))
        arrow(axes, (ENCODER, between - 0.33), (ENCODER, below + 0.42))
        box(axes, SKIP, between, "up", "step", 1.3)
        arrow(axes, (SKIP, between + 0.33), (SKIP, y - 0.33))
    box(axes, ENCODER, HEIGHTS[2], "bottleneck", "bottleneck")
    line = {"color": "#444444", "lw": 1.3}
    between = (HEIGHTS[0] + HEIGHTS[1]) / 2
    axes.plot([DECODER, DECODER], [HEIGHTS[1] + 0.42, between], **line)
    arrow(axes, (DECODER, between), (SKIP + 0.67, between))
    between = (HEIGHTS[1] + HEIGHTS[2]) / 2
    axes.plot([ENCODER + 1.22, SKIP], [HEIGHTS[2], HEIGHTS[2]], **line)
    arrow(axes, (SKIP, HEIGHTS[2]), (SKIP, between - 0.33))
    head = DECODER + 3.7
    box(axes, head, HEIGHTS[0], "1 × 1 convolution", "step", 3.2)
    arrow(axes, (DECODER + 1.47, HEIGHTS[0]), (head - 1.62, HEIGHTS[0]))
    axes.text(head, HEIGHTS[0] - 0.9, "logits", ha="center", va="center", fontsize=11)
    arrow(axes, (head, HEIGHTS[0] - 0.33), (head, HEIGHTS[0] - 0.7))
    for level, y in enumerate(HEIGHTS):
        axes.text(
            head + 1.95, y, f"level {level}", ha="left", va="center", fontsize=10, color="#666"
        )
    axes.set(xlim=(-1.6, 15.2), ylim=(0.3, 5.7))
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(OUT, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


if __name__ == "__main__":
    main()
