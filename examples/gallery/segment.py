"""
Vessels of a photograph
=======================

Trained weights find the vessels of an image from any camera: its field of view is found, resized to
the diameter that the network was trained at, and resized back.
"""

# %%
# The photograph is scikit-image's (CC0), 1411 x 1411 pixels from a camera that is not
# DRIVE's.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from torchattn_blocks.retina import estimate_fov, load_pretrained, segment

image = data.retina()
trained = load_pretrained("drive")
fov = estimate_fov(image)
probability = segment(image, trained, fov=fov)
print(probability.shape, probability.dtype)

# %%
# The vessel mask is what is above 0.5 inside the field of view.

mask = (probability > 0.5) & fov
print(f"{mask.sum() / fov.sum():.1%} of the field of view are vessels")

figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
overlay = np.where(mask[..., None], [0, 255, 255], image).astype(np.uint8)
pictures = {"photograph": image, "probability": probability * fov, "vessel mask": overlay}
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture, cmap="gray")
    axis.set_title(title)
    axis.set_axis_off()

# %%
# A closer look: single pixels of a part with thin vessels.

rows, columns = slice(500, 800), slice(250, 550)
figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
for axis, picture in zip(axes, (image, overlay), strict=True):
    axis.imshow(picture[rows, columns], interpolation="nearest")
    axis.set_axis_off()

# %%
# The command ``torchattn-retina segment eye.jpg --out maps`` does the same for files, and writes
# the figures. For research; not for diagnosis.
