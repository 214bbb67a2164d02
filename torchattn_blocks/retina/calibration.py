"""Calibrating trained weights on labelled images, so that 0.5 is a good threshold for them."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .._check import check_kind
from .evaluation.threshold import Sweep, ThresholdChoice, have_vessels
from .fundus import Fundus
from .predict import segment
from .weights import Trained, check_trained


def calibrate(
    trained: Trained,
    images: Iterable[Fundus],
    *,
    fov_diameter: float | None = None,
    flips: bool = False,
) -> tuple[Trained, ThresholdChoice]:
    """Shift the output bias of a trained network so that 0.5 is the best threshold for images.

    The best threshold is the one with the highest F1 of all pixels within the field of view of all
    images together. The shift changes neither AUC nor the order of probabilities. Pass images of
    the camera and the observer that the weights are for, ten or more, and no image that you will
    score. (The page on the threshold says how many it takes.)

    Args:
        trained: The network and its settings, from `load_pretrained` or `load_weights`. It stays
            as it is.
        images: Images with labels. They are taken one after the other and not kept, so you may pass
            a generator.
        fov_diameter: As for `segment`.
        flips: As for `segment`. Calibrate in the way in which you will segment.

    Returns:
        A network with the shifted bias, whose ``settings.about`` name the images, and the choice:
        the shift, how much it differs between images, and what it does to the sensitivity.

    Raises:
        TypeError: If `trained` is not a `Trained`, an image not a `Fundus`, or `fov_diameter` not a
            number.
        ValueError: If an image has no label, the network gives NaN, no image has a vessel within
            its field of view, no vessel pixel a probability above 0.01, or `fov_diameter` is not
            above 0.

    Example:
        >>> from torchattn_blocks.retina import calibrate, load_pretrained, synthesize
        >>> trained = load_pretrained("drive")
        >>> images = [synthesize(seed, height=160, width=150) for seed in range(2)]
        >>> calibrated, choice = calibrate(trained, images)
        >>> moved = calibrated.model.head.bias - trained.model.head.bias
        >>> choice.images, abs(moved.item() - choice.shift) < 1e-6
        (2, True)
    """
    check_trained("calibrate", trained)
    names, sweeps = [], []
    for fundus in images:
        check_kind("calibrate", Fundus, images=fundus)
        names.append(fundus.name)
        sweeps.append(sweep_of(fundus, trained, fov_diameter, flips=flips))
    choice = chosen("calibrate: images", sweeps)
    how = {"flips": flips, "fov_diameter": fov_diameter}
    return shifted(trained, choice, {"dataset": "", "images": sorted(names), **how}), choice


def sweep_of(fundus: Fundus, trained: Trained, fov_diameter: float | None, *, flips: bool) -> Sweep:
    """What a network finds within the field of view of an image."""
    if fundus.label is None:
        raise ValueError(f"calibrate: every image must have a label; missing: {fundus.name}")
    fov = fundus.fov
    found = segment(fundus.image, trained, fov=fov, fov_diameter=fov_diameter, flips=flips)
    if not np.isfinite(found[fov]).all():
        raise ValueError(
            f"calibrate: trained must give finite probabilities, not for {fundus.name}"
        )
    return Sweep.inside(found, fundus.label, fov)


def chosen(owner: str, sweeps: Iterable[Sweep]) -> ThresholdChoice:
    """The choice of a threshold on images, of which one must have vessels."""
    sweeps = list(sweeps)
    if not have_vessels(sweeps):
        raise ValueError(
            f"{owner} must hold vessels in a field of view, got none in {len(sweeps)} images"
        )
    if not Sweep.sum(sweeps).true.any():
        raise ValueError(
            f"{owner} must hold a vessel pixel to which the weights give a probability above 0.01, "
            "got none: no shift is better than another"
        )
    return ThresholdChoice.of(sweeps)


@torch.no_grad()
def shifted(trained: Trained, choice: ThresholdChoice, on: Mapping[str, Any]) -> Trained:
    """A copy of a trained network with the shift.

    Args:
        trained: The network.
        choice: The choice of the shift.
        on: What chose it, for the settings.
    """
    model, settings = copy.deepcopy(trained.model), trained.settings
    model.get_parameter("head.bias").add_(choice.shift)
    notes = choice.notes()
    notes["bias_shift"] = settings.about.get("bias_shift", 0.0) + choice.shift
    about = {**settings.about, **notes, "calibrated_on": dict(on)}
    for score in ("f1", "cl_dice"):  # of the weights before the shift
        about.pop(score, None)
    return Trained(model, replace(settings, about=about))
