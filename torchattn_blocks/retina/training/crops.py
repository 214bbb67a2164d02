"""Random crops of training images, for training by steps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..._check import check_ints, check_numbers, make_plain
from .appearance import blurred, compressed, with_contrast, with_light, with_noise, with_reflex

_REDUCED = 0.75  # below this scale, points between the points of bilinear interpolation count
_LEAST_AREA = 0.2  # the share of vessel that makes a pixel of a reduced crop vessel
_BEST_JPEG = 95  # above it, according to Pillow, files grow and images do not get better
_AMOUNTS = (
    "stretch",
    "gain",
    "channel_gain",
    "gamma",
    "offset",
    "contrast",
    "light",
    "reflex",
    "blur",
    "noise",
)


@dataclass(frozen=True)
class Crops:
    """Random square crops with random orientation and colour.

    The centre of a crop is drawn uniformly from the field of view. A crop is either turned by a
    multiple of 90 degrees and flipped, without interpolation, or transformed freely: rotated by any
    angle, scaled and stretched, with bilinear interpolation. Vessel mask and field of view move
    with the image. Crops reduced to less than 3/4 are averages over the area of each pixel. In
    their vessel masks, a pixel is vessel if at least a fifth of it is. (At half the size, 96 % of
    the centre lines of an image of DRIVE then lie in the mask's vessels, which are in a few pieces
    and have 1.4 times the right area. If half of the pixel had to be vessel, it would be 75 %, in
    hundreds of pieces.)

    Then the image is changed, in this order: reflex, vignette, light; channel gains, gamma
    correction, an offset; contrast, blur, noise, JPEG. Values are clipped to [0, 1]. Outside the
    field of view, black stays black except for blur and JPEG. All attributes after `offset` are off
    by default; `CAMERAS_RECIPE` turns them on.

    Attributes:
        side: Height and width of a crop in pixels, at least 1.
        free: Share of the crops that are transformed freely, 0 to 1.
        zoom: Free crops are magnified by a factor of 1 / `zoom` to `zoom`, at least 1, uniform in
            its logarithm. A pair is the lowest and the highest factor, above 0, such as (0.5, 2).
        stretch: The ratio of width to height of free crops changes by a factor of e^-stretch to
            e^stretch, uniform in its logarithm; at least 0.
        gain: Standard deviation of the logarithm of a factor that all channels share.
        channel_gain: Standard deviation of the logarithm of a factor of each channel.
        gamma: Standard deviation of the logarithm of the exponent.
        offset: Standard deviation of an offset within the field of view.
        contrast: Standard deviation of the logarithm of a factor. It multiplies the difference of
            values from the mean of their channel in the field of view.
        light: Uneven light: the highest coefficient, at least 0, of the polynomial that is the
            logarithm of its brightness (``RandBiasField`` of MONAI).
        vignette: How much darker the border of the field of view may be than its centre, 0 to 1.
        reflex: How much brighter the middle of vessels of at least 3 pixels may be, at least 0.
        blur: Highest standard deviation of a Gaussian blur, in pixels, at least 0.
        noise: Highest standard deviation of Gaussian noise, at least 0.
        jpeg: Lowest quality of a JPEG compression, 1 to 95. None: no compression.

    Raises:
        TypeError: If `side` or `jpeg` is not an int, or another attribute not a number.
        ValueError: If an attribute is outside the bounds above, or a standard deviation is below 0.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from torchattn_blocks.retina import Crops
        >>> image, label = torch.rand(3, 80, 90), torch.zeros(1, 80, 90)
        >>> fov = torch.ones(1, 80, 90)
        >>> crop, moved = Crops(side=32)(image, label, fov, np.random.default_rng(0))
        >>> crop.shape, moved.shape
        (torch.Size([3, 32, 32]), torch.Size([1, 32, 32]))
    """

    side: int = 256
    free: float = 0.5
    zoom: float | tuple[float, float] = 1.25
    stretch: float = 0.1
    gain: float = 0.12
    channel_gain: float = 0.06
    gamma: float = 0.15
    offset: float = 0.03
    contrast: float = 0.0
    light: float = 0.0
    vignette: float = 0.0
    reflex: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None

    def __post_init__(self) -> None:
        """Check the bounds."""
        make_plain(self)
        check_ints("Crops", 1, side=self.side)
        check_numbers("Crops", 0, 1, free=self.free)
        if isinstance(self.zoom, tuple):
            _check_pair(self.zoom)
        else:
            check_numbers("Crops", 1, zoom=self.zoom)
        check_numbers("Crops", 0, **{name: getattr(self, name) for name in _AMOUNTS})
        check_numbers("Crops", 0, 1, vignette=self.vignette)
        if self.jpeg is not None:
            check_ints("Crops", 1, _BEST_JPEG, jpeg=self.jpeg)

    def __call__(
        self, image: Tensor, target: Tensor, fov: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a crop of an image and of its vessel mask.

        Args:
            image: Values between 0 and 1, shape (3, H, W).
            target: Vessel mask, values between 0 and 1, shape (1, H, W). Or (K, H, W): with further
                maps that move along, such as probabilities. In reduced crops these are averages.
            fov: Field of view, zeros and ones, shape (1, H, W), with at least one 1.
            rng: Source of random numbers.

        Returns:
            The crops of image and target, of shape (3, side, side) and (K, side, side). Outside the
            image, values are 0.
        """
        inside = fov[0].flatten().nonzero()[:, 0]
        row, column = divmod(int(inside[rng.integers(len(inside))]), fov.shape[-1])
        maps = [image, target, fov]
        if self.vignette:
            maps.append(_from_the_centre(inside, fov))
        all_maps = torch.cat(maps)  # (4 or 5 + K, H, W)
        cut = self._transformed if rng.random() < self.free else self._turned
        window = cut(all_maps, row, column, rng)
        end = 3 + len(target)
        seen, moved, inner = window[:3], window[3:end], window[end : end + 1]
        if self.reflex:
            seen = with_reflex(seen, moved[:1], rng.uniform(0, self.reflex), rng)
        if self.vignette:
            seen = seen * (1 - rng.uniform(0, self.vignette) * window[end + 1 :])
        if self.light:
            seen = with_light(seen, self.light, rng)
        return self._photographed(self._recoloured(seen, inner, rng), inner, rng), moved

    def _turned(self, x: Tensor, row: int, column: int, rng: np.random.Generator) -> Tensor:
        """The window around a pixel in one of its eight orientations."""
        top, left = row - self.side // 2, column - self.side // 2
        below, beyond = top + self.side - x.shape[-2], left + self.side - x.shape[-1]
        window = F.pad(x, (-left, beyond, -top, below))  # negative amounts cut off
        window = window.rot90(int(rng.integers(4)), (1, 2))
        return window.flip(2) if rng.random() < 0.5 else window

    def _transformed(self, x: Tensor, row: int, column: int, rng: np.random.Generator) -> Tensor:
        """The window around a pixel, rotated, scaled and stretched."""
        angle = rng.uniform(0, 2 * math.pi)
        scale = self._scale(rng.uniform(-1, 1))
        aspect = math.exp(rng.uniform(-1, 1) * self.stretch / 2)
        rotation = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        matrix = rotation @ np.diag([1 / (scale * aspect), aspect / scale])  # crop to image, pixels
        # affine_grid counts from -1 to 1 across the crop and across the image, x before y.
        size = np.array([x.shape[-1], x.shape[-2]])
        centre = 2 * np.array([column + 0.5, row + 0.5]) / size - 1
        theta = np.column_stack([matrix * self.side / size[:, None], centre])
        # In reduced crops several points of each pixel are looked up and averaged.
        points = math.ceil(1 / scale) if scale < _REDUCED else 1
        size_of_grid = [1, 1, points * self.side, points * self.side]
        grid = F.affine_grid(
            torch.from_numpy(theta).float()[None], size_of_grid, align_corners=False
        )
        window = F.grid_sample(x[None], grid, align_corners=False)
        if points == 1:
            return window[0]
        window = F.avg_pool2d(window, points)[0]
        window[3:4] = (window[3:4] >= _LEAST_AREA).float()
        return window

    def _scale(self, place: float) -> float:
        """The magnification at a place from -1, the lowest, to 1, the highest."""
        if isinstance(self.zoom, tuple):
            low, high = map(math.log, self.zoom)
            return math.exp((low + high + place * (high - low)) / 2)
        return math.exp(place * math.log(self.zoom))

    def _recoloured(self, image: Tensor, fov: Tensor, rng: np.random.Generator) -> Tensor:
        gains = np.exp(rng.normal(0, self.gain) + rng.normal(0, self.channel_gain, (3, 1, 1)))
        exponent = math.exp(rng.normal(0, self.gamma))
        offset = float(rng.normal(0, self.offset))
        image = (image * torch.from_numpy(gains).float()) ** exponent
        return (image + offset * fov).clamp(0, 1)

    def _photographed(self, image: Tensor, fov: Tensor, rng: np.random.Generator) -> Tensor:
        """The image with another contrast and sharpness, with noise and after compression."""
        if self.contrast:
            image = with_contrast(image, fov, math.exp(rng.normal(0, self.contrast)))
        if self.blur:
            image = blurred(image, rng.uniform(0, self.blur))
        if self.noise:
            image = with_noise(image, fov, rng.uniform(0, self.noise), rng)
        image = image.clamp(0, 1)
        if self.jpeg is not None:
            image = compressed(image, int(rng.integers(self.jpeg, _BEST_JPEG, endpoint=True)))
        return image


def _check_pair(zoom: tuple[Any, ...]) -> None:
    """Raise unless `zoom` is a lowest and a highest magnification."""
    if len(zoom) != 2:
        raise ValueError(f"Crops: zoom must be a number or a pair, got {zoom}")
    check_numbers("Crops", 0, ends="(]", **{"zoom[0]": zoom[0], "zoom[1]": zoom[1]})
    if zoom[0] > zoom[1]:
        raise ValueError(f"Crops: zoom[0] must be at most zoom[1], got {zoom}")


def _from_the_centre(inside: Tensor, fov: Tensor) -> Tensor:
    """The squared distance (1, H, W) from the centre of the field of view: 1 at its border.

    Args:
        inside: Places of its pixels in the flattened image.
        fov: Field of view, shape (1, H, W).
    """
    rows, columns = inside // fov.shape[-1], inside % fov.shape[-1]
    squared_radius = len(inside) / math.pi
    down, right = (torch.arange(side).float() for side in fov.shape[1:])
    y, x = (down - rows.float().mean()) ** 2, (right - columns.float().mean()) ** 2
    return ((y[:, None] + x) / squared_radius).clamp(max=1)[None]
