"""The field of view of a fundus image, computed from the image itself."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.morphology import dilation, footprint_rectangle
from skimage.segmentation import clear_border, find_boundaries

from ..fundus import check_image

Mask = NDArray[np.bool_]

# A border is dark if its median brightness is below this fraction of the retina's. On DRIVE and
# CHASE_DB1 the fraction is at most 0.07; of dark parts of the retina (vessels, fovea) at least 0.7.
_BORDER_SHARE = 0.2
# The lens blurs the rim of the field of view, and JPEG adds ringing around it. The rim is where the
# brightness falls to this fraction of the brightest pixel within a 64th of the image's side.
_RIM_SHARE = 0.3
# A region is a disc if this fraction of its outline is nearer to a circle than that, in radii, and
# covers at least this fraction of the circle.
_ROUND, _NEAR, _ARC = 0.8, 0.03, 0.25


def estimate_fov(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the part of a fundus image in which the camera saw the retina.

    A fundus image shows a bright disc, perhaps cropped by the frame, on a darker border. Otsu's
    threshold on the logarithm of the brightness separates the two. (On the logarithmic scale a dim
    rim of the retina is closer to the retina than to the border.) The field of view is the largest
    connected bright component, which excludes text in the border, with its holes filled. If it is a
    disc with a ragged rim, the rim is completed. If the border is more than a fifth as bright as
    the retina, the component must be a disc; if it is none, pixels that differ from the corners of
    the image take the place of Otsu's threshold.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.

    Returns:
        The field of view, shape (H, W), True where the camera saw the retina. If no border is
        found, it is True everywhere.

    Raises:
        TypeError: If `image` is not an array of type uint8.
        ValueError: If `image` is not of shape (H, W, 3).

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import estimate_fov
        >>> row, column = np.ogrid[:64, :64]
        >>> disc = (row - 32) ** 2 + (column - 32) ** 2 < 28**2
        >>> image = np.where(disc[..., None], (180, 90, 40), (8, 8, 8)).astype(np.uint8)
        >>> bool((estimate_fov(image) == disc).all())
        True
    """
    check_image(image, "estimate_fov")
    brightness = image.max(axis=2)  # (H, W); the brightest channel: red, nearly everywhere
    logarithm = np.log1p(brightness, dtype=np.float32)
    bright = logarithm > threshold_otsu(logarithm)
    everywhere = np.ones(brightness.shape, dtype=np.bool_)
    if not bright.any():  # an image of one colour
        return everywhere
    is_dark = np.median(brightness[~bright]) <= _BORDER_SHARE * np.median(brightness[bright])
    side = 2 * (max(brightness.shape) // 64) + 1  # odd: the window stands evenly around its pixel
    window = footprint_rectangle((side, side), decomposition="separable")
    region = _largest_filled(bright & (brightness > _RIM_SHARE * dilation(brightness, window)))
    disc = _completed_disc(region)
    if is_dark:
        return region if disc is None else disc
    if disc is None:
        disc = _completed_disc(_largest_filled(_unlike_corners(brightness)))
    return everywhere if disc is None else disc


def _largest_filled(bright: Mask) -> Mask:
    """The largest connected component without its holes."""
    if not bright.any():
        return bright
    components = label(bright, connectivity=1)
    largest: Mask = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    # A hole is a dark component that does not touch the frame: a vessel, the fovea, a lesion.
    return largest | clear_border(~largest)


def _unlike_corners(brightness: NDArray[np.uint8]) -> Mask:
    """Pixels brighter than the four corners of an image."""
    side = max(min(brightness.shape) // 40, 4)
    rows = [slice(None, side), slice(-side, None)]
    corners = np.stack([brightness[r, c].ravel() for r in rows for c in rows]).astype(float)
    levels = np.median(corners, axis=1)
    noise = 1.48 * np.median(np.abs(corners - levels[:, None]))  # a normal's standard deviation
    smooth = gaussian(brightness.astype(np.float32), 1.5, preserve_range=True)
    return smooth > np.median(levels) + 3 * noise + 2


def _completed_disc(region: Mask) -> Mask | None:
    """A region that is a disc, perhaps cropped by the frame, with notches filled; else None."""
    if region.mean() < 0.1:
        return None
    hull = _convex_hull(region)
    outline = find_boundaries(hull, mode="inner")
    outline[[0, -1]] = outline[:, [0, -1]] = False  # there the frame crops it
    points = np.argwhere(outline).astype(float)
    near = np.ones(len(points), dtype=np.bool_)
    for _ in range(5):  # the circle of least squares, then that of the points near to it
        if near.sum() < 20:
            return None
        terms = np.c_[2 * points[near], np.ones(near.sum())]
        row, column, rest = np.linalg.lstsq(terms, (points[near] ** 2).sum(1))[0]
        radius = np.sqrt(max(rest + row**2 + column**2, 0.0))
        near = np.abs(np.hypot(*(points - (row, column)).T) - radius) < _NEAR * radius
    if near.mean() < _ROUND or near.sum() < _ARC * 2 * np.pi * radius:
        return None
    rows, columns = np.ogrid[: region.shape[0], : region.shape[1]]
    notches = hull & ~region & ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)
    # Fewer are the steps of a sharp rim, which stays as it is.
    return region | notches if notches.sum() > 0.01 * region.sum() else region


def _convex_hull(region: Mask) -> Mask:
    """What skimage's convex_hull_image gives, which takes seconds for large images."""
    points = np.argwhere(find_boundaries(region, mode="inner"))
    corners = points[ConvexHull(points).vertices]
    hull = Image.new("1", region.shape[::-1])
    ImageDraw.Draw(hull).polygon([(x, y) for y, x in corners.tolist()], fill=1)
    return np.array(hull)


def fov_fault(fov: NDArray[np.bool_]) -> str:
    """What shows that a mask is not a field of view: it is one region, and compact; or nothing."""
    if not fov.any():
        return "It has no bright pixel."
    components = label(fov, connectivity=2)
    sizes = np.bincount(components.ravel())[1:]
    largest = components == 1 + np.argmax(sizes)
    rows, columns = (np.flatnonzero(largest.any(axis=axis)) for axis in (1, 0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    if sizes.max() < 0.9 * sizes.sum() or sizes.max() < 0.5 * box:
        return (
            f"It must be one region that fills 50 % or more of the box around it, got {len(sizes)} "
            f"of which the largest fills {sizes.max() / box:.0%}. Is it a vessel mask?"
        )
    return ""


def fov_diameter(fov: NDArray[np.bool_]) -> int:
    """The diameter of a field of view in pixels: the longer side of the box around it.

    This is correct if the frame crops the disc at two opposite sides or not at all.

    Args:
        fov: Field of view, shape (H, W).

    Raises:
        ValueError: If `fov` has no True pixel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import fov_diameter
        >>> row, column = np.ogrid[:64, :80]
        >>> fov_diameter((row - 32) ** 2 + (column - 40) ** 2 <= 35**2)  # cropped above and below
        71
    """
    if not fov.any():
        raise ValueError("fov_diameter: fov must have at least 1 True pixel, got none")
    spans = [np.flatnonzero(fov.any(axis=axis)) for axis in (0, 1)]
    return max(int(span[-1] - span[0]) + 1 for span in spans)
