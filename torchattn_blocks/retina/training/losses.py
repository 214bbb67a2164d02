"""The training loss."""

import torch
from monai.losses import DiceLoss, SoftclDiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from .recipe import Recipe, has_bfloat16


class Objective(nn.Module):
    """A model followed by its loss. `accelerate` wraps this module, and the model stays as it is.

    Mixed precision is set here, because the setting of an `Accelerator` holds for the process.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, layout: torch.memory_format) -> None:
        super().__init__()
        self.model = model
        self.mixed = recipe.resolved_precision() == "bf16"
        self.layout = layout
        losses = ((recipe.dice, DiceLoss), (recipe.cl_dice, SoftclDiceLoss))
        self.others = [(weight, loss(sigmoid=True)) for weight, loss in losses if weight]

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, a scalar, and logits of images (N, 3, H, W) with targets (N, 1, H, W)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.model(images.contiguous(memory_format=self.layout))
        logits = logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        for weight, other in self.others:
            loss = loss + weight * other(logits, targets)
        return loss, logits


def fastest_layout(device: torch.device) -> torch.memory_format:
    """The memory format in which RSAN trains fastest.

    That is channels_last on GPUs and on CPUs with instructions for bfloat16, in either precision,
    and the contiguous one on other CPUs (`benchmarks/step.py`).
    """
    old = device.type == "cpu" and not has_bfloat16()
    return torch.contiguous_format if old else torch.channels_last
