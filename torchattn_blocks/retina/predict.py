"""Vessel probabilities of an image, from any camera."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .data.fov import estimate_fov, fov_diameter
from .data.tensors import crop_evenly, image_tensor, resized_image, resized_map
from .fundus import check_image
from .modes import modes_restored
from .weights import Trained

# Larger images are computed in tiles of this side. The networks see this far at most: a stage of
# RSAN sees 7 pixels at its own resolution, twice at each of three levels and once at the fourth.
# Multiples of 8, so that poolings meet the same pixels in a tile as in the image.
_TILE, _MARGIN = 1024, 168


def segment(
    image: NDArray[np.uint8],
    trained: Trained,
    *,
    fov: NDArray[np.bool_] | None = None,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Compute the vessel probability of each pixel of a fundus image of any size.

    The image is resized until its field of view has the diameter that the network was trained at,
    and the probability map is resized back. If the diameters differ by less than 3 %, nothing is
    resized.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network and its settings, from `load_pretrained` or `load_weights`.
        fov: Field of view, shape (H, W); by default `estimate_fov` of the image. If the image has
            no dark border, the field of view is the whole image.
        flips: Average over the image and its three flips (horizontal, vertical, both).

    Returns:
        The probability map, shape (H, W). Values outside the field of view mean nothing.

    Raises:
        TypeError: If `image` is not an array of type uint8.
        ValueError: If `image` is not of shape (H, W, 3), or `fov` has another height or width or no
            True pixel.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained, segment, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> segment(fundus.image, load_pretrained("drive")).shape
        (160, 150)
    """
    check_image(image, "segment")
    fov = estimate_fov(image) if fov is None else fov
    if fov.shape != image.shape[:2]:
        raise ValueError(
            f"segment: fov must have the image's shape {image.shape[:2]}, got {fov.shape}"
        )
    model, settings = trained
    scale = settings.fov_diameter / fov_diameter(fov)
    scaled = resized_image(image, scale)
    probability = torch.from_numpy(vessel_probability(model, scaled, settings.side, flips=flips))
    return resized_map(probability[None], image.shape[:2])[0].numpy()


@torch.inference_mode()
def vessel_probability(
    model: nn.Module, image: NDArray[np.uint8], side: int | None = None, *, flips: bool = False
) -> NDArray[np.float32]:
    """Compute the vessel probability of each pixel of one image, without resizing it.

    Args:
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). It is in evaluation mode
            during the call and runs on the device of its parameters.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the image with zeros around it to `side` x `side` pixels, as in training. Images
            of more than 1024 pixels are computed in overlapping tiles, to save memory; for networks
            of up to four stages the result is the same. None: neither.
        flips: Average over the image and its three flips (horizontal, vertical, both). It takes
            four times as long and often scores a little higher.

    Returns:
        The probability map, shape (H, W).

    Raises:
        TypeError: If `image` is not an array of type uint8.
        ValueError: If `image` is not of shape (H, W, 3), or `model` has more than one output
            channel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.retina import vessel_probability
        >>> image = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), image).shape
        (30, 45)
    """
    check_image(image, "vessel_probability")
    device = next((w.device for w in model.parameters()), torch.device("cpu"))
    height, width = image.shape[:2]
    mirrors: list[tuple[int, ...]] = [(), (2,), (3,), (2, 3)] if flips else [()]

    fits = side is None or max(height, width) <= side
    with modes_restored(model):
        model.eval()
        x = image_tensor(image, side if fits else None)[None].to(device)
        see = _probability if fits else _in_tiles
        each = [see(model, x.flip(axes)).flip(axes) for axes in mirrors]
    return crop_evenly(torch.stack(each).mean(0)[0, 0], height, width).cpu().numpy()


def _in_tiles(model: nn.Module, x: Tensor) -> Tensor:
    """The probabilities of an image, computed tile by tile if it is larger than a tile.

    Of each tile only the part is kept that sees no other surroundings than in the whole image.
    """
    height, width = x.shape[-2:]
    result = x.new_empty((1, 1, height, width))
    kept = _TILE - 2 * _MARGIN if max(height, width) > _TILE else _TILE
    for top in range(0, height, kept):
        for left in range(0, width, kept):
            above, before = max(top - _MARGIN, 0), max(left - _MARGIN, 0)
            tile = x[..., above : top + kept + _MARGIN, before : left + kept + _MARGIN]
            part = _probability(model, tile)[..., top - above :, left - before :][..., :kept, :kept]
            result[..., top : top + kept, left : left + kept] = part
    return result


def _probability(model: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    if logits.shape[1] != 1:
        raise ValueError(
            f"vessel_probability: model must have 1 output channel, got {logits.shape[1]}"
        )
    return logits.float().sigmoid()
