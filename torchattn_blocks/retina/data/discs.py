"""Discs in a picture: regions that differ from their surroundings, bounded by a circle."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.segmentation import clear_border, find_boundaries

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# A region is a disc if this fraction of its outline is nearer to a circle than that, in radii, and
# covers at least this fraction of the circle.
_ROUND, _NEAR, _ARC = 0.8, 0.03, 0.25
# It covers at least this fraction of the picture. The retina in a telephone's holder covers 0.15.
SMALLEST = 0.1
# A disc of fewer pixels across has too few pixels on its outline, about 20, to fit a circle.
_NARROWEST = 8
# A blob that touches a disc is cut off if it is narrower than this fraction of the disc.
_BLOB = 0.5
# The colour is compared within rings around the rim: from, to, in radii. They are narrow, so that
# among several circles around one disc the circle on its rim has the highest score.
_WITHIN, _BEYOND, _MIDDLE = (0.94, 0.99), (1.01, 1.06), (0.0, 0.8)
# Across the rim the colour must change by so much: the root of the sum of squares of the change of
# the three channels' logarithms. Noise reaches 0.1; a grey border that is as bright as the retina
# differs by 0.6, a border half as bright as the retina by 1.2.
_CHANGE = 0.35
# That change is at least this fraction of its sum with the change between rim and middle. The
# fraction is above 0.6 for a sharp rim, and below 0.4 for light that fades out evenly.
_SHARP = 0.5
# Surroundings that are brighter than this fraction of a disc, and redder than the disc, are retina.
# The disc is then a part of the retina, such as the optic disc. A dark border may have any hue.
# Redness is the logarithm of red over green; around the optic disc it is higher by 0.3 in synthetic
# images.
_LIT, _REDDER = 0.5, 0.1

# A reflex is at least so bright in red, green and blue; a retina is darker in blue.
_OVEREXPOSED = 240


@dataclass(frozen=True, eq=False)
class Disc:
    """A disc, and how clear it is, from 0 to 1."""

    mask: Mask
    score: float


@dataclass(frozen=True)
class Circle:
    """A circle, in pixels."""

    row: float
    column: float
    radius: float
    fit: float  # the fraction of the outline that is near to the circle

    def distance(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """From the centre to each pixel, in radii."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        distance: NDArray[np.float64] = np.hypot(rows - self.row, columns - self.column)
        return distance / self.radius


def is_reflex(colours: NDArray[np.uint8]) -> bool:
    """Whether pixels (N, 3) are overexposed: light that the lens throws back, not a retina."""
    return bool((np.median(colours, axis=0) >= _OVEREXPOSED).all())


def find_discs(image: NDArray[np.uint8]) -> list[Disc]:
    """All discs in a small picture, the clearest first; the same disc may appear repeatedly."""
    colour = np.log1p(image, dtype=np.float32)
    found = []
    for separation in _separations(image, colour):
        for region in _round_regions(separation):
            circle = circle_around(region)
            if circle is None or is_reflex(image[region]):
                continue
            if score := _score(circle, colour):
                found.append(Disc(_without_notches(region, circle), score))
    return sorted(found, key=lambda disc: -disc.score)


def completed_disc(region: Mask) -> Mask | None:
    """A region that is a disc, perhaps cropped by the frame, with its notches filled; or None."""
    circle = circle_around(region)
    return None if circle is None else _without_notches(region, circle)


def filled(region: Mask) -> Mask:
    """A region with its holes filled: enclosed vessels, the fovea or a lesion, for example."""
    return region | clear_border(~region)


def _separations(image: NDArray[np.uint8], colour: Floats) -> Iterator[Mask]:
    """Several ways to tell retina from border."""
    brightness = colour.max(axis=2)
    warmth = image[..., 0].astype(np.float32) - image[..., 2]  # grey has none
    unlike_corners = np.linalg.norm(colour - _corner_colour(colour), axis=2)
    for quantity in (brightness, warmth, unlike_corners):
        smooth = gaussian(quantity, 1)
        for threshold in _thresholds(smooth):
            yield smooth > threshold
            yield smooth <= threshold


def _thresholds(values: Floats) -> set[float]:
    """Otsu's threshold, and Otsu's among the values on either side of it: up to four classes."""
    if not _varies(values):
        return set()
    middle = threshold_otsu(values)
    sides = (values[values <= middle], values[values > middle])
    return {float(middle), *(float(threshold_otsu(side)) for side in sides if _varies(side))}


def _varies(values: Floats) -> bool:
    """Whether values span a range that a histogram can divide."""
    return bool(values.size and np.ptp(values) > 1e-3)


def _corner_colour(colour: Floats) -> Floats:
    side = max(min(colour.shape[:2]) // 40, 4)
    ends = (slice(None, side), slice(-side, None))
    corners = [np.median(colour[rows, columns], axis=(0, 1)) for rows in ends for columns in ends]
    return np.median(corners, axis=0)


def _round_regions(separation: Mask) -> Iterator[Mask]:
    """The large regions of a separation, without holes and without parts that stick out."""
    for region in _large_components(separation):
        whole = filled(region)
        if not whole.all():
            yield from _large_components(_opened(whole))


def _large_components(mask: Mask) -> Iterator[Mask]:
    components = label(mask, connectivity=1)
    sizes = np.bincount(components.ravel())
    for index in range(1, len(sizes)):
        if sizes[index] >= SMALLEST * mask.size:
            yield components == index


def _opened(region: Mask) -> Mask:
    """The parts of a region that hold a circle half as large as the largest one."""
    depth = distance_transform_edt(region)  # the frame is no edge: a cropped disc stays one
    reach = _BLOB * depth.max()
    opened: Mask = distance_transform_edt(depth <= reach) < reach
    return opened


def circle_around(region: Mask) -> Circle | None:
    """The circle that bounds a region, up to notches and the frame; None if it is no disc."""
    spans = [np.flatnonzero(region.any(axis=axis)) for axis in (0, 1)]
    if region.mean() < SMALLEST or min(np.ptp(span) + 1 for span in spans) < _NARROWEST:
        return None
    outline = find_boundaries(_convex_hull(region), mode="inner")
    outline[[0, -1]] = outline[:, [0, -1]] = False  # there the frame crops it
    points = np.argwhere(outline).astype(float)
    near = np.ones(len(points), dtype=np.bool_)
    for _ in range(5):  # the circle of least squares, then the same with only the points near it
        if near.sum() < 20:
            return None
        terms = np.c_[2 * points[near], np.ones(near.sum())]
        row, column, rest = np.linalg.lstsq(terms, (points[near] ** 2).sum(1))[0]
        radius = np.sqrt(max(rest + row**2 + column**2, 0.0))
        near = np.abs(np.hypot(*(points - (row, column)).T) - radius) < _NEAR * radius
    if near.mean() < _ROUND or near.sum() < _ARC * 2 * np.pi * radius:
        return None
    return Circle(row, column, radius, float(near.mean()))


def _convex_hull(region: Mask) -> Mask:
    """The same as skimage's convex_hull_image, which takes seconds for large images."""
    padded = np.pad(region, 1)  # a region that fills the frame has boundaries, too
    points = np.argwhere(find_boundaries(padded, mode="inner")) - 1
    corners = points[ConvexHull(points).vertices]
    hull = Image.new("1", region.shape[::-1])
    ImageDraw.Draw(hull).polygon([(x, y) for y, x in corners.tolist()], fill=1)
    return np.array(hull)


def _without_notches(region: Mask, circle: Circle) -> Mask:
    notches = _convex_hull(region) & ~region & (circle.distance(region.shape) <= 1)
    # Fewer pixels are just the steps of a sharp rim, which is left unchanged.
    return region | notches if notches.sum() > 0.01 * region.sum() else region


def _score(circle: Circle, colour: Floats) -> float:
    """How round a disc is, times how sharp its rim; 0 if it is not the whole of a retina."""
    distance = circle.distance(colour.shape)
    rings = [(distance > low) & (distance <= high) for low, high in (_MIDDLE, _WITHIN, _BEYOND)]
    if not all(ring.any() for ring in rings):
        return 0.0
    middle, within, beyond = (np.median(colour[ring], axis=0) for ring in rings)
    change = float(np.linalg.norm(beyond - within))
    if change < _CHANGE or _is_retina(beyond, middle):
        return 0.0
    sharpness = change / (change + float(np.linalg.norm(within - middle)))
    return circle.fit * sharpness if sharpness >= _SHARP else 0.0


def _is_retina(beyond: Floats, middle: Floats) -> bool:
    """Whether the colour around a disc shows that the retina goes on around it."""
    redness = [colour[0] - colour[1] for colour in (beyond, middle)]
    lit = beyond.max() > middle.max() + np.log(_LIT)
    return bool(lit and redness[0] > max(redness[1], 0.0) + _REDDER)
