"""The validation of a network in training."""

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import nn

from ..data.tensors import crop_evenly, pad_evenly
from ..evaluation.threshold import best_threshold
from ..fundus import Fundus
from ..modes import modes_restored
from .examples import prepared
from .losses import Objective
from .recipe import Recipe


class Validation:
    """Computes the loss of a network on whole images, and its best threshold."""

    def __init__(self, images: Sequence[Fundus], recipe: Recipe) -> None:
        self.recipe = recipe
        self.samples = [prepared(fundus, recipe.input_scale) for fundus in images]
        inside = (sample["label"][sample["fov"] > 0.5] for sample in self.samples)
        if recipe.calibrate and not any((target > 0.5).any() for target in inside):
            raise ValueError(
                "train: with recipe.calibrate, validation must have vessels in the field of view"
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, layout: torch.memory_format) -> tuple[float, float]:
        """The mean loss, and the shift of the output bias that makes 0.5 the best threshold."""
        objective = Objective(network, self.recipe, layout)
        device = next(network.parameters()).device
        losses, maps = [], []
        with modes_restored(network):
            objective.eval()
            for sample in self.samples:
                image, target = (
                    pad_evenly(sample[name], self.recipe.side)[None].to(device)
                    for name in ("image", "label")
                )
                loss, logits = objective(image, target)
                losses.append(loss.item())
                maps.append(crop_evenly(logits.sigmoid(), *sample["fov"].shape[1:])[0, 0].cpu())
        if not self.recipe.calibrate or not all(map(math.isfinite, losses)):
            return fmean(losses), 0.0
        labels, fovs = (
            [(sample[name][0] > 0.5).numpy() for sample in self.samples]
            for name in ("label", "fov")
        )
        threshold = best_threshold([one.numpy() for one in maps], labels, masks=fovs)
        return fmean(losses), math.log((1 - threshold) / threshold)
