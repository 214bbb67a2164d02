"""Images with their vessels marked, and vessel masks with their errors coloured."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from .._check import plain
from .colours import BLUE, ORANGE, SKY_BLUE

MARK, _OUTLINE = (np.rint(np.array(c) * 255).astype(np.uint8) for c in (SKY_BLUE, ORANGE))
FOUND, FALSE, MISSED = (1.0, 1.0, 1.0), ORANGE, BLUE


def error_map(
    probability: NDArray[np.floating], label: NDArray[np.bool_], threshold: float = 0.5
) -> NDArray[np.float64]:
    """Colour each pixel by whether it was segmented correctly.

    True positives are white, false positives orange, false negatives blue, true negatives black.

    Args:
        probability: Probability map, shape (H, W).
        label: Vessel mask, shape (H, W).
        threshold: A pixel above it counts as vessel.

    Returns:
        RGB values of shape (H, W, 3), 0 to 1.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import error_map
        >>> error_map(np.array([[0.9, 0.1]]), np.array([[True, False]]))[0].tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    vessel = probability > plain(threshold)  # in the precision of the map, as scores are
    colours = np.zeros((*label.shape, 3))
    colours[vessel & label] = FOUND
    colours[vessel & ~label] = FALSE
    colours[~vessel & label] = MISSED
    return colours


def overlay(
    image: NDArray[np.uint8], vessels: NDArray[np.bool_], fov: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Mark vessels in an image in sky blue, and the outline of its field of view in orange.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        vessels: Vessel mask, shape (H, W).
        fov: Field of view, shape (H, W), or None to draw no outline. The outline is about a 400th
            of the image wide. Where the field of view meets the frame, there is no outline.

    Returns:
        RGB values of shape (H, W, 3), 0 to 255.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import overlay
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[True, False]]))[0].tolist()
        [[86, 180, 233], [0, 0, 0]]
    """
    marked = np.where(vessels[..., None], MARK, image)
    if fov is not None:
        width = max(1, max(fov.shape) // 400)
        inner = binary_erosion(fov, iterations=width, border_value=1)  # the frame is no border
        marked[fov & ~inner] = _OUTLINE
    return marked
