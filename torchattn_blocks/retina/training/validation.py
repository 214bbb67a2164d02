"""The validation of a network in training."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..._restored import in_evaluation
from ..data.tensors import crop_evenly, pad_evenly, resized_map
from ..evaluation.confusion import Confusion
from ..evaluation.connectivity import VesselMask
from ..evaluation.counts import Counts, Pool
from ..evaluation.scores import Spread
from ..evaluation.threshold import best_threshold_of
from ..fundus import Fundus
from .examples import prepared
from .losses import Objective
from .recipe import Recipe

_SKELETONS = 8  # at most so many images get a clDice, to limit its cost


class Validated(NamedTuple):
    """The result of a validation.

    Attributes:
        loss: The mean loss.
        bias_shift: The shift of the output bias that makes 0.5 the threshold with the best F1; 0
            without ``recipe.calibrate``.
        f1: F1 of the weights with this shift, within the field of view, all pixels pooled.
        auc: Area under the ROC curve, over the same pixels.
        cl_dice: Mean clDice of up to eight images, with this shift, within the field of view.
    """

    loss: float
    bias_shift: float = 0.0
    f1: float = math.nan
    auc: float = math.nan
    cl_dice: float = math.nan


class Validation:
    """Computes the loss of a network on whole images, its best threshold and its scores."""

    def __init__(self, images: Sequence[Fundus], recipe: Recipe) -> None:
        self.recipe = recipe
        self.images = images
        self.samples = [prepared(fundus, recipe) for fundus in images]
        self.truths = [VesselMask(_label(fundus) & fundus.fov) for fundus in images]
        if recipe.calibrate and not any(truth.pixels.any() for truth in self.truths):
            raise ValueError(
                "train: with recipe.calibrate, validation must have vessels in the field of view"
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, layout: torch.memory_format) -> Validated:
        """Validate a network."""
        objective = Objective(network, self.recipe, layout)
        device = next(network.parameters()).device
        losses, maps, pool = [], [], Pool()
        with in_evaluation(objective):
            for sample, fundus in zip(self.samples, self.images, strict=True):
                image, target = (
                    pad_evenly(sample[name], self.recipe.side)[None].to(device)
                    for name in ("image", "label")
                )
                loss, logits = objective(image, target)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    return Validated(losses[-1])
                seen = crop_evenly(logits.sigmoid(), *sample["fov"].shape[1:])[0].cpu()
                probability = resized_map(seen, fundus.fov.shape)[0].numpy()
                inside = fundus.fov
                pool.add(Counts.of(probability[inside], _label(fundus)[inside]))
                maps.append(probability)
        counts = pool.total()
        threshold = best_threshold_of("train", counts) if self.recipe.calibrate else 0.5
        found = [
            VesselMask((probability > threshold) & fundus.fov)
            for probability, fundus in zip(maps, self.images, strict=True)
        ]
        pairs = list(zip(found, self.truths, strict=True))
        confusion = Confusion(0, 0, 0, 0)
        for vessels, truth in pairs:
            confusion = confusion.plus(Confusion.of(vessels.pixels, truth.pixels))
        areas = counts.areas()
        every = math.ceil(len(pairs) / _SKELETONS)
        return Validated(
            fmean(losses),
            math.log((1 - threshold) / threshold),  # 0 at 0.5
            confusion.scores(areas)["F1"],
            areas[0],
            Spread.of([vessels.cl_dice(truth) for vessels, truth in pairs[::every]]).mean,
        )


def _label(fundus: Fundus) -> NDArray[np.bool_]:
    return np.asarray(fundus.label)
