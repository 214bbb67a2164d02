"""The training loss."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss, SoftclDiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from ..._restored import in_evaluation
from ..fundus import Fundus
from .examples import prepared_label
from .recipe import Recipe, has_bfloat16
from .soft_skeleton import iterations_for


class Objective(nn.Module):
    """A model followed by its loss. `accelerate` wraps this module, and the model stays as it is.

    Mixed precision is set here, because the setting of an `Accelerator` holds for the process.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, layout: torch.memory_format) -> None:
        super().__init__()
        self.model = model
        self.mixed = recipe.resolved_precision() == "bf16"
        self.layout = layout
        self.others: list[tuple[float, nn.Module]] = []
        if recipe.dice:
            self.others.append((recipe.dice, DiceLoss(sigmoid=True)))
        if recipe.cl_dice:
            iterations = recipe.cl_dice_iterations
            if iterations is None:
                raise ValueError("Objective: recipe.cl_dice_iterations must be a number, got None")
            self.others.append((recipe.cl_dice, SoftclDiceLoss(iterations, sigmoid=True)))

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, a scalar, and logits of images (N, 3, H, W) with targets (N, 1, H, W)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.model(images.contiguous(memory_format=self.layout))
        logits = logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        for weight, other in self.others:
            loss = loss + weight * other(logits, targets)
        return loss, logits


@torch.no_grad()
def check_model(model: nn.Module, shape: Sequence[int], device: torch.device) -> None:
    """Raise `ValueError` unless a model turns images of this shape into one logit per pixel."""
    with in_evaluation(model):
        try:
            logits = model(torch.zeros(1, *shape, device=device))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError) as cause:
            raise ValueError(
                f"train: model must take images of shape (N, {', '.join(map(str, shape))}), in "
                f"colour; it raised: {cause}"
            ) from cause
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if got != (1, 1, *shape[1:]):
        raise ValueError(
            "train: model must return one logit per pixel, of shape (N, 1, H, W); for 1 image of "
            f"shape {tuple(shape)} it returned {got}. Vessel masks have two classes: a network for "
            "more of them needs a training loop of your own."
        )


def cl_dice_iterations(training: Sequence[Fundus], recipe: Recipe) -> int | None:
    """The iterations of the soft skeleton for training on these images; None without clDice.

    Raises:
        ValueError: If the recipe has too few for the vessels.
    """
    if not recipe.cl_dice:
        return None
    least = iterations_for(prepared_label(fundus, recipe) for fundus in training)
    given = recipe.cl_dice_iterations
    if given is not None and given < least:
        raise ValueError(
            f"train: recipe.cl_dice_iterations must be at least {least} for vessels as wide as in "
            f"the training masks (or None), got {given}"
        )
    return least if given is None else given


def fastest_layout(device: torch.device) -> torch.memory_format:
    """The memory format in which RSAN trains fastest.

    That is channels_last on GPUs and on CPUs with instructions for bfloat16, in either precision,
    and the contiguous one on other CPUs (`benchmarks/step.py`).
    """
    old = device.type == "cpu" and not has_bfloat16()
    return torch.contiguous_format if old else torch.channels_last
