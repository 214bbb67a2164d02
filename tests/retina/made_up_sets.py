"""Tiny trees of images and masks in the layouts of DRIVE and of CHASE_DB1."""

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16


def image(path, mark):
    """A disc on black whose blue value tells the image."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    fov = (row - 6) ** 2 + (column - 8) ** 2 < 25
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.where(fov[..., None], (200, 100, mark), 0).astype(np.uint8))
    image.save(path, quality=100, subsampling=0)  # as a JPEG too, the mark stays legible


def bitmap(path, count, low=0, high=255):
    """A mask with so many pixels marked, from the fifth row on: the count tells the image."""
    pixels = np.roll(np.arange(HEIGHT * WIDTH) < count, 4 * WIDTH).reshape(HEIGHT, WIDTH)
    pixels = pixels.astype(np.uint8)
    image = Image.fromarray(pixels)
    image.putpalette([low] * 3 + [high] * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if path.suffix == ".gif" else image.convert("1")).save(path)


def make_drive(root, split="training", names=("21", "22", "23")):
    for name in names:
        image(root / split / "images" / f"{name}_{split}.tif", int(name))
        bitmap(root / split / "1st_manual" / f"{name}_manual1.gif", int(name))
        bitmap(root / split / "2nd_manual" / f"{name}_manual2.gif", int(name) + 10, 3, 253)
        bitmap(root / split / "mask" / f"{name}_{split}_mask.gif", int(name) + 80)


def make_chase(root, names=("01L", "01R", "02L"), mask=True):
    for i, name in enumerate(names):
        image(root / f"Image_{name}.jpg", 10 * i)
        bitmap(root / f"Image_{name}_1stHO.png", 10 + i)
        bitmap(root / f"Image_{name}_2ndHO.png", 30 + i)
        if mask:
            bitmap(root / "mask" / f"Image_{name}_mask.png", 90 + i)


def vessels(path, mark=0, high=255):
    """A vessel mask: a cross in the disc of `image`, whose upright bar stands at 5 + mark."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[6, 4:13] = pixels[2:11, 5 + mark] = high
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def coloured_vessels(path, mark=0):
    """Arteries in red and veins in blue."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[6, 4:13, 0] = pixels[2:11, 5 + mark, 2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def field_of_view(path, mark=0):
    """The disc of `image`."""
    bitmap(path, 80)


def classes(path, mark=0):
    """A vessel mask with the values 0 and 1, as nnU-Net has it."""
    vessels(path, mark, high=1)


def make_tree(root, drawings, names):
    """Files such as ``training/images/{}_training.tif``, each drawn by a function."""
    for mark, name in enumerate(names):
        for file, draw in drawings.items():
            draw(root / file.format(name), mark)
