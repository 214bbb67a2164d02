"""Random crops of training images, for training by steps."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..._check import check_ints, check_numbers, make_plain


@dataclass(frozen=True)
class Crops:
    """Random square crops with random orientation and colour.

    The centre of a crop is drawn uniformly from the field of view. A crop is either turned by a
    multiple of 90 degrees and flipped, without interpolation, or transformed freely: rotated by any
    angle, scaled and stretched, with bilinear interpolation. Vessel mask and field of view move
    with the image. Then the colours of the image are changed: channel gains, gamma correction, an
    offset within the field of view; values are clipped to [0, 1].

    Attributes:
        side: Height and width of a crop in pixels, at least 1.
        free: Share of the crops that are transformed freely, 0 to 1.
        zoom: Free crops are magnified by a factor of 1 / `zoom` to `zoom`, at least 1, uniform in
            its logarithm.
        stretch: The ratio of width to height of free crops changes by a factor of e^-stretch to
            e^stretch, uniform in its logarithm; at least 0.
        gain: Standard deviation of the logarithm of a factor that all channels share.
        channel_gain: Standard deviation of the logarithm of a factor of each channel.
        gamma: Standard deviation of the logarithm of the exponent.
        offset: Standard deviation of the offset.

    Raises:
        TypeError: If `side` is not an int, or another attribute not a number.
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
    zoom: float = 1.25
    stretch: float = 0.1
    gain: float = 0.12
    channel_gain: float = 0.06
    gamma: float = 0.15
    offset: float = 0.03

    def __post_init__(self) -> None:
        """Check the bounds."""
        make_plain(self)
        check_ints("Crops", 1, side=self.side)
        check_numbers("Crops", 0, 1, free=self.free)
        check_numbers("Crops", 1, zoom=self.zoom)
        deviations = ("stretch", "gain", "channel_gain", "gamma", "offset")
        check_numbers("Crops", 0, **{name: getattr(self, name) for name in deviations})

    def __call__(
        self, image: Tensor, target: Tensor, fov: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a crop of an image and of its vessel mask.

        Args:
            image: Values between 0 and 1, shape (3, H, W).
            target: Vessel mask, values between 0 and 1, shape (1, H, W).
            fov: Field of view, zeros and ones, shape (1, H, W), with at least one 1.
            rng: Source of random numbers.

        Returns:
            The crops of image and vessel mask, of shape (3, side, side) and (1, side, side). What
            lies outside the image is 0.
        """
        inside = fov[0].flatten().nonzero()[:, 0]
        row, column = divmod(int(inside[rng.integers(len(inside))]), fov.shape[-1])
        all_maps = torch.cat([image, target, fov])  # (5, H, W)
        cut = self._transformed if rng.random() < self.free else self._turned
        window = cut(all_maps, row, column, rng)
        return self._recoloured(window[:3], window[4:], rng), window[3:4]

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
        scale = math.exp(rng.uniform(-1, 1) * math.log(self.zoom))
        aspect = math.exp(rng.uniform(-1, 1) * self.stretch / 2)
        rotation = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        matrix = rotation @ np.diag([1 / (scale * aspect), aspect / scale])  # crop to image, pixels
        # affine_grid counts from -1 to 1 across the crop and across the image, x before y.
        size = np.array([x.shape[-1], x.shape[-2]])
        centre = 2 * np.array([column + 0.5, row + 0.5]) / size - 1
        theta = np.column_stack([matrix * self.side / size[:, None], centre])
        grid = F.affine_grid(
            torch.from_numpy(theta).float()[None], [1, 1, self.side, self.side], align_corners=False
        )
        return F.grid_sample(x[None], grid, align_corners=False)[0]

    def _recoloured(self, image: Tensor, fov: Tensor, rng: np.random.Generator) -> Tensor:
        gains = np.exp(rng.normal(0, self.gain) + rng.normal(0, self.channel_gain, (3, 1, 1)))
        exponent = math.exp(rng.normal(0, self.gamma))
        offset = float(rng.normal(0, self.offset))
        image = (image * torch.from_numpy(gains).float()) ** exponent
        return (image + offset * fov).clamp(0, 1)
