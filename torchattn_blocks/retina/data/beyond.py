"""An image continued beyond its frame, where the frame cuts the retina."""

import numpy as np
from numpy.typing import NDArray

from .discs import circle_around

_WIDTH = 32  # pixels, a multiple of 8, so that poolings see the same pixels as without it


def continued(
    image: NDArray[np.uint8], fov: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """Continue an image by 32 pixels at the sides where its field of view meets the frame.

    Networks that know only dark borders find short vessels along a cut. So this completes the disc
    of the field of view by mirroring the image; around the disc it is dark. If the frame touches
    the disc without cutting it, there is only a dark border.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        fov: Field of view, shape (H, W).

    Returns:
        The larger image, and its rows and columns that hold the image itself.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina.data.beyond import continued
        >>> image, fov = np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), bool)
        >>> larger, inner = continued(image, fov)
        >>> larger.shape, larger[inner].shape
        ((128, 128, 3), (64, 64, 3))
    """
    height, width = fov.shape
    ends = (fov[0], fov[-1], fov[:, 0], fov[:, -1])
    above, below, before, after = (_WIDTH if end.any() else 0 for end in ends)
    inner = slice(above, above + height), slice(before, before + width)
    mirrored = np.pad(image, ((above, below), (before, after), (0, 0)), mode="symmetric")
    circle = circle_around(fov) if above + below + before + after else None
    if circle is None:
        return mirrored, inner
    rows, columns = np.ogrid[: mirrored.shape[0], : mirrored.shape[1]]
    kept = np.hypot(rows - above - circle.row, columns - before - circle.column) <= circle.radius
    kept[inner] = True
    dark = np.median(image[~fov], axis=0) if not fov.all() else np.zeros(3)
    return np.where(kept[..., None], mirrored, dark.astype(np.uint8)), inner
