"""Draw docs/images/fields_of_view.jpg: odd synthetic photographs and their fields of view.

python docs/draw_fields_of_view.py
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from torchattn_blocks.retina import estimate_fov, fov_remark, synthesize

OUTLINE = 86, 233, 220
OUT = Path(__file__).parent / "images" / "fields_of_view.jpg"
Pixels = NDArray[np.float64]


def on(background: Pixels, seed: int, top: int, left: int, size: int, light: float = 1.0) -> Pixels:
    """A synthetic eye on a background."""
    eye = synthesize(seed, height=size, width=size)
    place = background[top : top + size, left : left + size]
    place[eye.fov] = light * eye.image[eye.fov]
    return background


def flat(*colour: float, height: int = 400, width: int = 480) -> Pixels:
    """A picture of one colour."""
    return np.broadcast_to(np.array(colour, float), (height, width, 3)).copy()


def holder() -> Pixels:
    """A disc in a telephone's holder, before a room."""
    rng = np.random.default_rng(1)
    room = (
        flat(150, 140, 120) + ndimage.gaussian_filter(rng.normal(0, 300, (400, 480)), 6)[..., None]
    )
    row, column = np.ogrid[:400, :480]
    room[np.hypot(row - 200, column - 240) < 175] = 30
    return on(room, 1, 75, 115, 250)


def reflex() -> Pixels:
    """A dim disc beside a large reflex."""
    picture = on(flat(30, 30, 30), 2, 40, 10, 320, light=0.3)
    row, column = np.ogrid[:400, :480]
    picture[np.hypot(row - 150, column - 410) < 60] = 250
    return picture


def bars() -> Pixels:
    """A dim disc on dark green between black bars."""
    picture = on(flat(5, 25, 12), 3, 10, 50, 380, light=0.35)
    picture[:35] = picture[-35:] = 0
    return picture


CASES: dict[str, Callable[[], Pixels]] = {
    "grey border": lambda: on(flat(105, 105, 105), 0, 20, 60, 360),
    "telephone's holder": holder,
    "white page": lambda: on(flat(255, 255, 255), 4, 60, 120, 260),
    "reflex": reflex,
    "black bars": bars,
    "two eyes": lambda: on(on(flat(6, 6, 6), 5, 80, 5, 250), 6, 90, 260, 210),
}


def main() -> None:
    """Draw the figure and print what is remarked on each image."""
    figure = Figure(figsize=(12, 7.2), layout="constrained")
    for axes, (title, draw) in zip(figure.subplots(2, 3).flat, CASES.items(), strict=True):
        noisy = draw() + np.random.default_rng(0).normal(0, 2, (400, 480, 3))
        image = ndimage.gaussian_filter(noisy, (0.8, 0.8, 0)).clip(0, 255).astype(np.uint8)
        fov = estimate_fov(image)
        print(f"{title}: {fov_remark(image, fov) or 'nothing to remark'}")
        image[ndimage.binary_dilation(fov, iterations=2) & ~fov] = OUTLINE
        axes.imshow(image)
        axes.set_title(title)
        axes.set_axis_off()
    figure.savefig(OUT, dpi=80, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
