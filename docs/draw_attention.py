"""Draw the attention maps of RSAN, with the weights trained on DRIVE, in docs/images.

python docs/draw_attention.py

Printed are mean weights where the network sees vessels, doubts, and sees none, within the retina.
"""

from pathlib import Path

import skimage.data
import torch
from torch.nn import functional as F

from torchattn_blocks import attention_maps, save_attention_maps
from torchattn_blocks.retina import load_pretrained

DOCS = Path(__file__).parent


def main() -> None:
    """Draw, and print."""
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
