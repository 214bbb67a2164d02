"""The training loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropy(nn.Module):
    """The model followed by its loss. `accelerate` wraps this module, and the model stays as it is.

    Mixed precision is set here, because the setting of an `Accelerator` holds for the process.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__()
        self.model = model
        self.mixed = precision == "bf16"

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar, of images (N, 3, H, W) and labels (N, 1, H, W)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(logits.float(), labels)
