"""Draw `docs/images/crops.jpg`: one crop, as each change of `Crops` makes it.

    python docs/draw_crops.py

The image is scikit-image's (CC0); its vessels are those that the shipped weights find.
"""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from torchattn_blocks.retina import CAMERAS_RECIPE, Crops, estimate_fov, load_pretrained, segment

_OUT = Path(__file__).parent / "images" / "crops.jpg"
_PLAIN = Crops(free=0, gain=0, channel_gain=0, gamma=0, offset=0)
_SHOWN = ("gain", "channel_gain", "gamma", "offset", "contrast", "light", "vignette", "reflex")
_CHANGES = (*_SHOWN, "blur", "noise", "jpeg")


def main() -> None:
    """Draw the figure."""
    small = Image.fromarray(data.retina()).resize((560, 560), Image.Resampling.BICUBIC)
    photograph = np.array(small)
    vessels = segment(photograph, load_pretrained("drive")) > 0.5
    image = torch.from_numpy(photograph).permute(2, 0, 1).float() / 255
    label, fov = (torch.from_numpy(m).float()[None] for m in (vessels, estimate_fov(photograph)))
    cameras = CAMERAS_RECIPE.crops
    known = {field.name for field in fields(Crops)}
    if cameras is None or not known >= {*_CHANGES}:
        raise SystemExit("draw_crops: the recipe has no crops, or Crops other changes")
    shown = {"as it is": _PLAIN}
    shown |= {name: replace(_PLAIN, **{name: getattr(cameras, name)}) for name in _CHANGES}
    shown |= {f"all, {number}": cameras for number in range(1, 5)}
    figure = Figure(figsize=(12, 12.6), layout="constrained", dpi=90)
    for number, (axes, (name, crops)) in enumerate(
        zip(figure.subplots(4, 4).flat, shown.items(), strict=True)
    ):
        seed = number if name.startswith("all") else 3
        crop, _ = crops(image, label, fov, np.random.default_rng(seed))
        axes.imshow(crop.permute(1, 2, 0).numpy())
        axes.set_title(name)
        axes.set_axis_off()
    figure.savefig(_OUT, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    main()
