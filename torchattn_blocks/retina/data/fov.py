"""The field of view of a fundus image, computed from the image itself."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.morphology import dilation, footprint_rectangle

from ..fundus import check_image, checked_mask
from .discs import Disc, Mask, completed_disc, filled, find_discs, is_reflex

# A border is dark if its median brightness is below this fraction of the retina's. On DRIVE and
# CHASE_DB1 the fraction is at most 0.07; of dark parts of the retina (vessels, fovea) at least 0.7.
_BORDER_SHARE = 0.2
# The lens blurs the rim of the field of view, and JPEG adds ringing around it. The rim is where the
# brightness falls to this fraction of the brightest pixel within a 64th of the image's side.
_RIM_SHARE = 0.3
# Discs are searched for in a copy of the image of at most this side. Half a pixel of it is about
# 0.3 % of the radius of a disc.
_SMALL_SIDE = 320
# Two discs are the same if their intersection over union is at least this.
_SAME = 0.955
# Remarks: a field of view is small below this fraction of the image; a second disc has comparable
# size above this fraction of the first, and is a different disc if it shares less than this
# fraction.
_SMALL_SHARE, _COMPARABLE, _SHARED = 0.2, 0.5, 0.1
# If a field of view fills more of the image than this, no such second disc fits beside it: discs in
# a rectangle fill at most 0.79 of it.
_ALONE = 0.55
# Pixels are of one colour if no channel varies by so much; JPEG makes a black bar vary by 2 or 3.
_ONE_COLOUR = 8


def estimate_fov(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the part of a fundus image in which the camera saw the retina.

    A fundus image shows a bright disc, perhaps cropped by the frame, on a darker border. Otsu's
    threshold on the logarithm of the brightness separates the two. (On the logarithmic scale a dim
    rim of the retina is closer to the retina than to the border.) The largest connected bright
    component, with its holes filled, is taken; this excludes text in the border. If it is a disc
    and the border is dark, it is the field of view. If its rim is ragged, the rim is completed.

    Otherwise it searches for discs in a small copy of the image, without bars of one colour at its
    sides, in three quantities: brightness, red minus blue (grey has none), and difference from the
    colour of the image's corners. Each is separated by several thresholds. Each large region that
    is bounded by a circle is a candidate. Its score says how round it is and how sharply the colour
    changes at its rim. The highest score wins. Two kinds do not count: overexposed discs, which are
    reflexes, and discs with retina around them, such as the optic disc. If the same disc stands out
    from the corners in the image itself, its rim is taken from there.

    If there is no disc, the field of view is the bright region if that is compact and the border
    dark, and otherwise the whole image. `fov_remark` reports that.

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
    check_image("estimate_fov", image)
    brightness = image.max(axis=2)  # (H, W); the brightest channel: red, nearly everywhere
    bright, is_dark = _bright(brightness)
    is_dark = is_dark and not is_reflex(image[bright])
    if is_dark and (disc := completed_disc(bright)) is not None:
        return disc
    if discs := _search(image):
        for region in (bright, _unlike_corners(brightness)):
            if (sharp := completed_disc(region)) is not None and _is_same(sharp, discs[0].mask):
                return sharp
        return discs[0].mask
    if is_dark and not fov_fault(bright):
        return bright
    return np.ones(brightness.shape, dtype=np.bool_)


def _bright(brightness: NDArray[np.uint8]) -> tuple[Mask, bool]:
    """The largest bright region, perhaps empty, and whether the rest is dark."""
    logarithm = np.log1p(brightness, dtype=np.float32)
    bright = logarithm > threshold_otsu(logarithm)
    if not bright.any():  # an image of one colour
        return bright, False
    is_dark = np.median(brightness[~bright]) <= _BORDER_SHARE * np.median(brightness[bright])
    side = 2 * (max(brightness.shape) // 64) + 1  # odd: the window is centred on its pixel
    window = footprint_rectangle((side, side), decomposition="separable")
    sharp = bright & (brightness > _RIM_SHARE * dilation(brightness, window))
    return _largest(sharp), bool(is_dark)


def _unlike_corners(brightness: NDArray[np.uint8]) -> Mask:
    """The largest region that is brighter than the four corners of an image, perhaps empty."""
    side = max(min(brightness.shape) // 40, 4)
    ends = (slice(None, side), slice(-side, None))
    corners = np.stack([brightness[rows, columns].ravel() for rows in ends for columns in ends])
    levels = np.median(corners, axis=1, keepdims=True)
    noise = 1.48 * np.median(np.abs(corners - levels))  # a normal's standard deviation
    smooth = gaussian(brightness.astype(np.float32), 1.5, preserve_range=True)
    return _largest(smooth > np.median(levels) + 3 * noise + 2)


def _is_same(one: Mask, other: Mask) -> bool:
    return bool((one & other).sum() >= _SAME * (one | other).sum())


def _largest(bright: Mask) -> Mask:
    """The largest connected component, without its holes."""
    if not bright.any():
        return bright
    components = label(bright, connectivity=1)
    return filled(components == 1 + np.argmax(np.bincount(components.ravel())[1:]))


def _search(image: NDArray[np.uint8]) -> list[Disc]:
    """The discs in a small copy of an image without its bars, at the size of the image."""
    rows, columns = (_between_bars(image, axis) for axis in (0, 1))
    inner = Image.fromarray(image[rows, columns])
    small = inner.copy()
    small.thumbnail((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.BOX)
    discs = []
    for disc in find_discs(np.array(small)):
        mask = np.zeros(image.shape[:2], dtype=np.bool_)
        grey = Image.fromarray(disc.mask.astype(np.uint8) * 255)
        mask[rows, columns] = np.array(grey.resize(inner.size, Image.Resampling.BILINEAR)) > 127
        discs.append(Disc(mask, disc.score))
    return discs


def _between_bars(image: NDArray[np.uint8], axis: int) -> slice:
    """The rows (axis 0) or columns (1) from the first to the last that is not of one colour."""
    spread = np.ptp(image, axis=1 - axis).max(axis=1)
    varied = np.flatnonzero(spread >= _ONE_COLOUR)
    return slice(varied[0], varied[-1] + 1) if varied.size else slice(None)


def fov_remark(image: NDArray[np.uint8], fov: NDArray[np.bool_]) -> str:
    """Say what a user should know about a field of view that was computed from its image.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        fov: Field of view, shape (H, W), such as `estimate_fov` gives.

    Returns:
        One line without a full stop, or an empty string if all is well. It names the first of these
        that is true: the image has one colour, the field of view is the whole image, there is a
        second disc of comparable size, the field of view fills less than a fifth of the image.

    Raises:
        TypeError: If `image` is not an array of type uint8, or `fov` is not an array.
        ValueError: If `image` is not of shape (H, W, 3), or `fov` has another height or width.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import estimate_fov, fov_remark
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> fov_remark(image, estimate_fov(image))
        'no retina found: the image has one colour'
    """
    check_image("fov_remark", image)
    fov = checked_mask("fov_remark", fov, image.shape[:2])
    if np.ptp(image, axis=(0, 1)).max() < _ONE_COLOUR:
        return "no retina found: the image has one colour"
    if fov.all():
        return "no dark border found: the whole image is taken for the field of view"
    if _has_second_disc(image, fov):
        return "a second region of comparable size lies outside the field of view: is it an eye?"
    if fov.mean() < _SMALL_SHARE:
        return f"the field of view fills only {fov.mean():.0%} of the image"
    return ""


def _has_second_disc(image: NDArray[np.uint8], fov: Mask) -> bool:
    size = fov.sum()
    return fov.mean() < _ALONE and any(
        disc.mask.sum() >= _COMPARABLE * size and (disc.mask & fov).sum() < _SHARED * size
        for disc in _search(image)
    )


def fov_fault(fov: NDArray[np.bool_]) -> str:
    """Why a mask is not a field of view, which is one compact region; empty if it may be one."""
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
