"""Draw in docs/images what each attention layer sees, and the attention maps of a trained RSAN.

python docs/draw_attention.py

Printed are mean weights where the network sees vessels, doubts, and sees none, within the retina.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import skimage.data
import torch
from matplotlib.colors import LogNorm
from torch import Tensor, nn
from torch.nn import functional as F

import torchattn_blocks as ta
from torchattn_blocks import attention_maps, save_attention_maps
from torchattn_blocks.retina import load_pretrained

DOCS = Path(__file__).parent
CHANNELS, SIDE, DRAWS = 16, 33, 16
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "SpatialAttention": ta.SpatialAttention,
    "ChannelAttention": lambda: ta.ChannelAttention(CHANNELS, reduction=4),
    "CBAM": lambda: ta.CBAM(CHANNELS, reduction=4),
    "SqueezeExcite": lambda: ta.SqueezeExcite(CHANNELS, reduction=4),
    "EfficientChannelAttention": lambda: ta.EfficientChannelAttention(CHANNELS),
    "ConcurrentSqueezeExcite": lambda: ta.ConcurrentSqueezeExcite(CHANNELS),
    "GlobalContext": lambda: ta.GlobalContext(CHANNELS, fusion="scale"),
    "CoordinateAttention": lambda: ta.CoordinateAttention(CHANNELS),
    "TripletAttention": ta.TripletAttention,
    "BAM": lambda: ta.BAM(CHANNELS, reduction=4),
    "SimAM": ta.SimAM,
    "AttentionGate": lambda: ta.AttentionGate(CHANNELS, CHANNELS),
}


def seen(make: Callable[[], nn.Module]) -> Tensor:
    """How strongly the weight of the element in the centre depends on each position.

    The mean over layers with new weights, of sums of absolute gradients over the channels.
    """
    total = torch.zeros(SIDE, SIDE)
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        layer = make().eval()
        x = torch.randn(1, CHANNELS, SIDE, SIDE, requires_grad=True)
        inputs = (x, x) if isinstance(layer, ta.AttentionGate) else (x,)
        weights = layer(*inputs) / x
        (gradient,) = torch.autograd.grad(weights[0, CHANNELS // 2, SIDE // 2, SIDE // 2], x)
        total += gradient[0].abs().sum(0)
    return total / DRAWS


def draw_seen() -> None:
    """A panel for each layer."""
    figure, axes = plt.subplots(2, 6, figsize=(12, 4.6), layout="constrained")
    colours = plt.get_cmap("viridis").with_extremes(bad="white")
    for axis, (name, make) in zip(axes.flat, LAYERS.items(), strict=True):
        reach = seen(make)
        reach = reach / reach.max()
        shown = reach.masked_fill(reach < 1e-6, torch.nan)
        drawn = axis.imshow(shown, cmap=colours, norm=LogNorm(1e-4, 1), interpolation="nearest")
        axis.set_title(name, fontsize=8)
        axis.set(xticks=[], yticks=[])
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, extend="min")
    bar.set_label("dependence, of the strongest")
    figure.savefig(DOCS / "images" / "attention_seen.png", dpi=110)


def main() -> None:
    """Draw, and print."""
    draw_seen()
    photograph = torch.from_numpy(skimage.data.retina()).permute(2, 0, 1)[None] / 255
    # As wide as DRIVE's images, which the network was trained on.
    image = F.interpolate(photograph, (584, 584), mode="bicubic", antialias=True).clamp(0, 1)
    model = load_pretrained("drive").model
    maps = attention_maps(model, image)
    save_attention_maps(DOCS / "images" / "attention_maps.jpg", maps, image=image[0])
    with torch.no_grad():
        probability = model.predict_proba(image)
    retina = image.mean(1, keepdim=True) > 0.1
    places = {
        "p > 0.8": retina & (probability > 0.8),
        "0.15 < p < 0.5": retina & (probability > 0.15) & (probability < 0.5),
        "p < 0.05": retina & (probability < 0.05),
    }
    print("| layer |", " | ".join(places), "| below 0.01 |")
    print("|---|" + "---:|" * (len(places) + 1))
    for name, attention in maps.items():
        weights = F.interpolate(attention, image.shape[2:])
        means = [f"{weights[place].mean():.2f}" for place in places.values()]
        below = (weights[retina] < 0.01).float().mean()
        print(f"| {name} |", " | ".join(means), f"| {below:.0%} |")


if __name__ == "__main__":
    main()
