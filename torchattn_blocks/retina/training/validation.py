"""The validation of a network in training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..._restored import in_evaluation
from ..data.tensors import crop_evenly, pad_evenly, resized_map
from ..evaluation.confusion import Confusion
from ..evaluation.connectivity import VesselMask
from ..evaluation.counts import Counts, Pool
from ..evaluation.scores import Spread
from ..evaluation.threshold import Sweep, ThresholdChoice, choosing
from ..fundus import Fundus
from .examples import prepared
from .losses import Objective
from .recipe import Recipe

_SKELETONS = 8  # at most so many images get a clDice, to limit its cost


class Validated(NamedTuple):
    """The result of a validation.

    Attributes:
        loss: The mean loss.
        choice: The choice of the threshold with the best F1; None without ``recipe.calibrate``.
        f1: F1 at the chosen threshold, within the field of view, all pixels pooled.
        auc: Area under the ROC curve, over the same pixels.
        cl_dice: Mean clDice of up to eight images, at this threshold, within the field of view.
        failed: Name of the first image whose loss is not finite, if there is one. Then ``loss`` is
            its loss, and the rest is of no use.
    """

    loss: float
    choice: ThresholdChoice | None = None
    f1: float = math.nan
    auc: float = math.nan
    cl_dice: float = math.nan
    failed: str | None = None


class Validation:
    """Computes the loss of a network on whole images, its best threshold and its scores.

    Args:
        images: The validation images.
        training: The training images. With ``recipe.calibrate`` up to ten of them help to choose
            the threshold; they are not scored.
        recipe: The recipe of the training.
    """

    def __init__(
        self, images: Sequence[Fundus], training: Sequence[Fundus], recipe: Recipe
    ) -> None:
        self.recipe = recipe
        self.images = images
        self.samples = [prepared(fundus, recipe) for fundus in images]
        self.truths = [VesselMask(_label(fundus) & fundus.fov) for fundus in images]
        self.others = choosing(training) if recipe.calibrate else []
        every = [*images, *self.others]
        if recipe.calibrate and not any((_label(one) & one.fov).any() for one in every):
            raise ValueError(
                "train: with recipe.calibrate, training or validation must have vessels in the "
                "field of view"
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, layout: torch.memory_format) -> Validated:
        """Validate a network."""
        objective = Objective(network, self.recipe, layout)
        losses, maps, pool, sweeps = [], [], Pool(), []
        with in_evaluation(objective):
            for sample, fundus in zip(self.samples, self.images, strict=True):
                loss, probability = self._seen(objective, sample, fundus)
                losses.append(loss)
                if not math.isfinite(loss):
                    return Validated(loss, failed=fundus.name)
                inside = fundus.fov
                counts = Counts.of(probability[inside], _label(fundus)[inside])
                pool.add(counts)
                sweeps.append(Sweep.of(counts))
                maps.append(probability)
            # Not looked at for their loss, so without the skeletons of clDice, which take time.
            plain = Objective(network, replace(self.recipe, cl_dice=0.0), layout).eval()
            for fundus in self.others:
                loss, probability = self._seen(plain, prepared(fundus, self.recipe), fundus)
                if not math.isfinite(loss):
                    return Validated(loss, failed=fundus.name)
                sweeps.append(Sweep.inside(probability, _label(fundus), fundus.fov))
        choice = ThresholdChoice.of(sweeps) if self.recipe.calibrate else None
        threshold = 0.5 if choice is None else choice.threshold
        found = [
            VesselMask((probability > threshold) & fundus.fov)
            for probability, fundus in zip(maps, self.images, strict=True)
        ]
        pairs = list(zip(found, self.truths, strict=True))
        confusion = Confusion(0, 0, 0, 0)
        for vessels, truth in pairs:
            confusion = confusion.plus(Confusion.of(vessels.pixels, truth.pixels))
        areas = pool.total().areas()
        every = math.ceil(len(pairs) / _SKELETONS)
        return Validated(
            fmean(losses),
            choice,
            confusion.scores(areas)["F1"],
            areas[0],
            Spread.of([vessels.cl_dice(truth) for vessels, truth in pairs[::every]]).mean,
        )

    def _seen(
        self, objective: Objective, sample: Mapping[str, Tensor], fundus: Fundus
    ) -> tuple[float, NDArray[np.float32]]:
        """The loss of an image and its probability map, at the image's own size."""
        image, target = (
            pad_evenly(sample[name], self.recipe.side)[None].to(next(objective.parameters()).device)
            for name in ("image", "label")
        )
        loss, logits = objective(image, target)
        seen = crop_evenly(logits.sigmoid(), *sample["fov"].shape[1:])[0].cpu()
        return loss.item(), resized_map(seen, fundus.fov.shape)[0].numpy()


def _label(fundus: Fundus) -> NDArray[np.bool_]:
    return np.asarray(fundus.label)
