"""From a photograph to its probability map."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchattn_blocks.retina.tensors import crop_evenly, image_tensor


@torch.inference_mode()
def vessel_probability(
    model: nn.Module, image: NDArray[np.uint8], side: int | None = None
) -> NDArray[np.float32]:
    """Segment one photograph.

    Args:
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). All of it is put in
            evaluation for the call, and it runs on the device that its parameters are on.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the photograph evenly to a square of this many pixels first, as it was in
            training; None: leave padding to the model.

    Returns:
        The probability of vessel for every pixel, shape (H, W).

    Raises:
        ValueError: If the image is not of shape (H, W, 3) with values of type uint8, or is larger
            than `side`; if the model has more than one output channel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import rsan
        >>> photograph = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), photograph).shape
        (30, 45)
    """
    device = next(model.parameters()).device
    with _evaluation(model):
        logits: Tensor = model(image_tensor(image, side)[None].to(device))
    if logits.shape[1] != 1:
        raise ValueError(f"vessel_probability: model must give one map, got {logits.shape[1]}")
    height, width = image.shape[:2]
    return crop_evenly(logits[0, 0].float().sigmoid(), height, width).cpu().numpy()


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
