"""Measure how well the field of view is estimated: intersection over union, minimum and mean.

On synthetic images with borders, rims and crops of several kinds; on DRIVE, and on DRIVE with light
borders, if the environment variable TORCHATTN_DATA names the folder that holds it.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from torchattn_blocks.retina import estimate_fov, list_drive, synthesize

IMAGES = [synthesize(seed) for seed in range(6)]


def photographed(
    image: NDArray[np.uint8],
    fov: NDArray[np.bool_],
    *,
    border: float,
    rim: float = 1.0,
    ragged: float = 0.0,
) -> NDArray[np.uint8]:
    """The image with a border and a rim as bright as these fractions of the retina."""
    row, column = np.indices(fov.shape)
    y, x = row - fov.shape[0] / 2, column - fov.shape[1] / 2
    radius = np.hypot(y, x) / np.hypot(y, x)[fov].max()
    if ragged:
        light = np.where(radius + ragged * np.cos(9 * np.arctan2(y, x)) > 0.97, rim, 1)
    else:
        light = 1 - (1 - rim) * np.clip(radius, 0, 1) ** 4
    out = image * light[..., None]
    out[~fov] = border * np.median(image[fov], axis=0)
    out = ndimage.gaussian_filter(out, (1.5, 1.5, 0))
    return (out + np.random.default_rng(0).normal(0, 4, out.shape)).clip(0, 255).astype(np.uint8)


def report(title: str, pairs: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> None:
    scores = []
    for image, fov in pairs:
        found = estimate_fov(image)
        scores.append((found & fov).sum() / (found | fov).sum())
    print(f"{title:32s} min {min(scores):.4f}  mean {np.mean(scores):.4f}")


def main() -> None:
    for border in (0.05, 0.15, 0.23, 0.3, 0.4, 0.5):
        pairs = [(photographed(f.image, f.fov, border=border), f.fov) for f in IMAGES]
        report(f"border {border}", pairs)
        report(f"border {border}, cropped", [(i[60:-60, 30:], f[60:-60, 30:]) for i, f in pairs])
    for rim, border in ((0.3, 0.03), (0.15, 0.02), (0.4, 0.23)):
        pairs = [(photographed(f.image, f.fov, border=border, rim=rim), f.fov) for f in IMAGES]
        report(f"vignette to {rim}, border {border}", pairs)
    pairs = [
        (photographed(f.image, f.fov, border=0.03, rim=0.1, ragged=0.02), f.fov) for f in IMAGES
    ]
    report("ragged rim", pairs)
    inner = [f.image[120:-120, 110:-110] for f in IMAGES]
    report("no border", [(image, np.ones(image.shape[:2], bool)) for image in inner])
    if root := os.environ.get("TORCHATTN_DATA"):
        drive = [f.read() for f in list_drive(Path(root, "DRIVE"), "test")]
        report("DRIVE's test images", [(f.image, f.fov) for f in drive])
        pairs = [(photographed(f.image, f.fov, border=0.23), f.fov) for f in drive]
        report("DRIVE's test images, border 0.23", pairs)


if __name__ == "__main__":
    main()
