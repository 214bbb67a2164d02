"""From a photograph to its probability map."""

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
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). It is put in evaluation
            for the call, and run on the device that its parameters are on.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the photograph evenly to a square of this many pixels first, as it was in
            training; None: leave padding to the model.

    Returns:
        The probability of vessel for every pixel, shape (H, W).

    Raises:
        ValueError: If the photograph is larger than `side`.

    Example:
        >>> from torchattn_blocks import rsan
        >>> photograph = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), photograph).shape
        (30, 45)
    """
    was_training = model.training
    device = next(model.parameters()).device
    logits: Tensor = model.eval()(image_tensor(image, side)[None].to(device))
    model.train(was_training)
    height, width = image.shape[:2]
    return crop_evenly(logits[0, 0].float().sigmoid(), height, width).cpu().numpy()
