"""From a photograph of any camera to its vessel map, by a trained network."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from torchattn_blocks.retina.fov import estimate_fov, fov_diameter
from torchattn_blocks.retina.inference import vessel_probability
from torchattn_blocks.retina.weights import Trained

# Nearer to the size trained at than this, a photograph is taken as it is: fields of view of one
# camera, or as estimated, differ by as much, and resampling blurs.
_ALIKE = 0.03


def segment(
    image: NDArray[np.uint8],
    trained: Trained,
    *,
    fov: NDArray[np.bool_] | None = None,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Find the vessels of a fundus photograph, whatever its size.

    The photograph is scaled so that its field of view gets the diameter of those that the network
    was trained on, unless it has it within 3 %, and the map is scaled back.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network, as from `load_pretrained`.
        fov: Where the camera saw the retina, shape (H, W); by default `estimate_fov` of the image.
            A photograph without dark border is taken to be as wide as the field of view.
        flips: Average over the photograph and its three mirror images.

    Returns:
        The probability of vessel for every pixel, shape (H, W), beyond the field of view too.

    Raises:
        ValueError: If the image is not of shape (H, W, 3) with values of type uint8, or the field
            of view is of another shape or holds no pixel.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained, segment, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> segment(fundus.image, load_pretrained("drive")).shape
        (160, 150)
    """
    fov = estimate_fov(image) if fov is None else fov
    if fov.shape != image.shape[:2]:
        raise ValueError(
            f"segment: fov must have the image's shape {image.shape[:2]}, got {fov.shape}"
        )
    model, settings = trained
    scale = settings.fov_diameter / fov_diameter(fov)
    if abs(scale - 1) < _ALIKE:
        return vessel_probability(model, image, settings.side, flips=flips)
    height, width = image.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    scaled = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    probability = torch.from_numpy(
        vessel_probability(model, scaled, settings.side, flips=flips)
    )  # (h, w)
    back = F.interpolate(probability[None, None], (height, width), mode="bilinear", antialias=True)
    return back[0, 0].clamp(0, 1).numpy()
