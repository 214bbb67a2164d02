"""The validation of a network in training."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from ..._restored import in_evaluation
from ..data.tensors import crop_evenly, pad_evenly, resized_map
from ..evaluation.threshold import best_threshold
from ..fundus import Fundus
from .examples import prepared
from .losses import Objective
from .recipe import Recipe


class Validation:
    """Computes the loss of a network on whole images, and its best threshold."""

    def __init__(self, images: Sequence[Fundus], recipe: Recipe) -> None:
        self.recipe = recipe
        self.images = images
        self.samples = [prepared(fundus, recipe.input_scale) for fundus in images]
        if recipe.calibrate and not any(
            np.any(image.label & image.fov) for image in images if image.label is not None
        ):
            raise ValueError(
                "train: with recipe.calibrate, validation must have vessels in the field of view"
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, layout: torch.memory_format) -> tuple[float, float]:
        """The mean loss, and the shift of the output bias that makes 0.5 the best threshold."""
        objective = Objective(network, self.recipe, layout)
        device = next(network.parameters()).device
        losses, maps = [], []
        with in_evaluation(objective):
            for sample in self.samples:
                image, target = (
                    pad_evenly(sample[name], self.recipe.side)[None].to(device)
                    for name in ("image", "label")
                )
                loss, logits = objective(image, target)
                losses.append(loss.item())
                maps.append(crop_evenly(logits.sigmoid(), *sample["fov"].shape[1:])[0].cpu())
        if not self.recipe.calibrate or not all(map(math.isfinite, losses)):
            return fmean(losses), 0.0
        return fmean(losses), self._bias_shift(maps)

    def _bias_shift(self, maps: Sequence[Tensor]) -> float:
        """The logit of 0.5 minus that of the best threshold, at the size of the images."""
        threshold = best_threshold(
            [
                resized_map(probability, fundus.fov.shape)[0].numpy()
                for probability, fundus in zip(maps, self.images, strict=True)
            ],
            [fundus.label for fundus in self.images if fundus.label is not None],
            masks=[fundus.fov for fundus in self.images],
        )
        return math.log((1 - threshold) / threshold)
