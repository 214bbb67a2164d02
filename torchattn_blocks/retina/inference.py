"""From a photograph to its probability map."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from torch import Tensor, nn

from torchattn_blocks.retina.tensors import crop_evenly, image_tensor


@torch.inference_mode()
def vessel_probability(
    model: nn.Module, image: NDArray[np.uint8], side: int | None = None, *, flips: bool = False
) -> NDArray[np.float32]:
    """Segment one photograph.

    Args:
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). All of it is put in
            evaluation for the call, and it runs on the device that its parameters are on.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the photograph evenly to a square of this many pixels first, as it was in
            training, or cut it, where it is larger, into overlapping tiles of that size; None: give
            it to the model as it is.
        flips: Average over the photograph and its three mirror images: four times the work, and
            often a little better.

    Returns:
        The probability of vessel for every pixel, shape (H, W).

    Raises:
        ValueError: If the image is not of shape (H, W, 3) with values of type uint8; if the model
            has more than one output channel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import rsan
        >>> photograph = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), photograph).shape
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
