"""From an image, of any camera, to its vessels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .data.fov import estimate_fov, fov_diameter
from .data.tensors import crop_evenly, image_tensor
from .weights import Trained

# Nearer to the size trained at than this, an image is taken as it is: fields of view of one
# camera, or as estimated, differ by as much, and resampling blurs.
_ALIKE = 0.03


def segment(
    image: NDArray[np.uint8],
    trained: Trained,
    *,
    fov: NDArray[np.bool_] | None = None,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Find the vessels of a fundus image, whatever its size.

    The image is scaled so that its field of view gets the diameter of those that the network
    was trained on, unless it has it within 3 %, and the map is scaled back.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network, as from `load_pretrained`.
        fov: Where the camera saw the retina, shape (H, W); by default `estimate_fov` of the image.
            An image without dark border is taken to be as wide as the field of view.
        flips: Average over the image and its three mirror images.

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


@torch.inference_mode()
def vessel_probability(
    model: nn.Module, image: NDArray[np.uint8], side: int | None = None, *, flips: bool = False
) -> NDArray[np.float32]:
    """Segment one image.

    Args:
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). All of it is put in
            evaluation for the call, and it runs on the device that its parameters are on.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the image evenly to a square of this many pixels first, as it was in
            training, or cut it, where it is larger, into overlapping tiles of that size; None: give
            it to the model as it is.
        flips: Average over the image and its three mirror images: four times the work, and
            often a little better.

    Returns:
        The probability of vessel for every pixel, shape (H, W).

    Raises:
        ValueError: If the image is not of shape (H, W, 3) with values of type uint8; if the model
            has more than one output channel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import rsan
        >>> image = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), image).shape
        (30, 45)
    """
    device = next(model.parameters()).device
    height, width = image.shape[:2]
    mirrors: list[tuple[int, ...]] = [(), (2,), (3,), (2, 3)] if flips else [()]

    def probability(x: Tensor) -> Tensor:
        maps = [_probability(model, x.flip(axes)).flip(axes) for axes in mirrors]
        return torch.stack(maps).mean(0)

    with _evaluation(model):
        if side is None or max(height, width) <= side:
            whole = probability(image_tensor(image, side)[None].to(device))
        else:
            # The middle of a tile counts more than its rim, where the network sees less around.
            tiles = SlidingWindowInferer((side, side), overlap=0.25, mode="gaussian")
            whole = cast(Tensor, tiles(image_tensor(image)[None].to(device), probability))
    return crop_evenly(whole[0, 0], height, width).cpu().numpy()


def _probability(model: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    if logits.shape[1] != 1:
        raise ValueError(f"vessel_probability: model must give one map, got {logits.shape[1]}")
    return logits.float().sigmoid()


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation, and each of its modules back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
