"""Images and masks as tensors, padded for a network; its outputs cropped to the image again."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

# Resizing blurs, so images are not resized if their field of view differs by less than this from
# the trained size: estimated diameters of images of one camera differ by as much.
ALIKE = 0.03


def resized_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize RGB values (H, W, 3) by a factor, as `segment` and training do."""
    if abs(scale - 1) < ALIKE:
        return image
    height, width = scaled_size(image.shape[:2], scale)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def scaled_size(size: tuple[int, ...], scale: float) -> list[int]:
    """Height and width times a factor, rounded, at least 1."""
    return [max(round(side * scale), 1) for side in size]


def resized_map(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map (1, H, W) with values between 0 and 1 to a height and width."""
    if list(x.shape[1:]) == list(size):
        return x
    return F.interpolate(x[None], list(size), mode="bilinear", antialias=True)[0].clamp(0, 1)


def padded_side(length: float) -> int:
    """The side of a padded image for a longest side: the next multiple of 8.

    The paper's networks halve it three times.
    """
    return 8 * math.ceil(length / 8)


def image_tensor(image: NDArray[np.uint8], side: int | None = None) -> Tensor:
    """Convert RGB values to the input of a network.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad with zeros to this height and width, as `pad_evenly` does; None: do not pad.

    Returns:
        Values between 0 and 1, shape (3, H, W) or (3, side, side).

    Raises:
        ValueError: If `image` is larger than `side`.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina.data.tensors import image_tensor
        >>> image_tensor(np.full((2, 3, 3), 255, np.uint8), side=4)[0]
        tensor([[0., 0., 0., 0.],
                [1., 1., 1., 0.],
                [1., 1., 1., 0.],
                [0., 0., 0., 0.]])
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    return pad_evenly(tensor, side)


def mask_tensor(mask: NDArray[np.bool_], side: int | None = None) -> Tensor:
    """Convert a mask of shape (H, W) to a target (1, H, W), 0 or 1, padded like images."""
    return pad_evenly(torch.from_numpy(np.ascontiguousarray(mask)).float()[None], side)


def pad_evenly(x: Tensor, side: int | None) -> Tensor:
    """Pad height and width, the last two axes, with zeros to `side`, an odd pixel at the end.

    Raises:
        ValueError: If `x` is larger than `side`.
    """
    if side is None:
        return x
    height, width = x.shape[-2:]
    if max(height, width) > side:
        raise ValueError(f"pad_evenly: side must be at least {max(height, width)}, got {side}")
    top, left = _margins(side, height, width)
    return F.pad(x, (left, side - width - left, top, side - height - top))


def crop_evenly(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `pad_evenly`: the centre of `x`, of the given height and width."""
    top, left = _margins(x.shape[-2], height, 0)[0], _margins(x.shape[-1], 0, width)[1]
    return x[..., top : top + height, left : left + width]


def _margins(side: int, height: int, width: int) -> tuple[int, int]:
    return (side - height) // 2, (side - width) // 2
