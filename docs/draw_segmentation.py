"""Draw docs/images/{retina.jpg,sheet.jpg,curves.png}: what the shipped weights make of images.

python docs/draw_segmentation.py
"""

from pathlib import Path

from skimage import data

from torchattn_blocks.retina import (
    Fundus,
    estimate_fov,
    load_pretrained,
    save_score_curves,
    save_sheet,
    segment,
    synthesize,
)

OUT = Path(__file__).parent / "images"


def main() -> None:
    """Draw the figures."""
    trained = load_pretrained("drive")
    image = data.retina()  # a real image from another camera (scikit-image, CC0)
    fundus = Fundus("of scikit-image", image, label=None, fov=estimate_fov(image))
    save_sheet(OUT / "retina.jpg", fundus, segment(image, trained, fov=fundus.fov))

    images = [synthesize(seed, height=400, width=390) for seed in range(100, 104)]
    probabilities = [segment(fundus.image, trained, fov=fundus.fov) for fundus in images]
    save_sheet(OUT / "sheet.jpg", images[0], probabilities[0])
    labels = [fundus.label for fundus in images if fundus.label is not None]
    seconds = [fundus.second_label for fundus in images if fundus.second_label is not None]
    save_score_curves(OUT / "curves.png", probabilities, labels, seconds=seconds)


if __name__ == "__main__":
    main()
