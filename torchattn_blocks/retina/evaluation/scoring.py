"""Scoring images one after the other."""

import math
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._check import check_kind, check_numbers
from ..fundus import Fundus
from .confusion import Confusion
from .connectivity import VesselMask
from .counts import Counts, Pool, joined
from .report import VIEWS, Evaluation, SystemScores, ViewScores
from .scores import check_values, spreads

_THRESHOLD = 0.5  # as in most papers
_MISSING: Any = object()  # fills up the shorter of images and maps
_NO_AREAS = dict.fromkeys(VIEWS, (math.nan, math.nan))  # of a vessel mask


def evaluate(
    images: Iterable[Fundus],
    probabilities: Iterable[NDArray[Any]],
    *,
    chosen_threshold: float | None = None,
) -> Evaluation:
    """Score probability maps on whole images and within the field of view, pooled and per image.

    Images and maps are taken one after the other and not kept. If your data set is larger than your
    memory, pass generators.

    Args:
        images: Images with labels.
        probabilities: A probability map for each image, shape (H, W), values between 0 and 1.
        chosen_threshold: A second threshold beside 0.5, chosen on other images by
            :func:`best_threshold`.

    Returns:
        The scores at 0.5, at `chosen_threshold` and, if all images have one, of the second
        observer's vessel masks.

    Raises:
        TypeError: If an image is not a `Fundus`, a map not a NumPy array of real numbers, or
            `chosen_threshold` not a number.
        ValueError: If there are no images, an image has no label or an empty field of view, a
            probability map is missing or has another shape than its image, or a probability or
            `chosen_threshold` lies outside [0, 1].

    Example:
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import evaluate
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> evaluation.threshold, evaluation.fov.pooled["F1"]
        (0.5, 1.0)
    """
    scoring = Scoring(chosen_threshold)
    pairs = zip_longest(images, probabilities, fillvalue=_MISSING)
    for i, (fundus, probability) in enumerate(pairs):
        if fundus is _MISSING or probability is _MISSING:
            missing = "images" if fundus is _MISSING else "probabilities"
            raise ValueError(
                "evaluate: images and probabilities must have one entry per image, but "
                f"{missing} has only {i}"
            )
        scoring.add(fundus, probability)
    return scoring.evaluation()


class Scoring:
    """The scores of the images so far. Only numbers of pixels are kept.

    Args:
        chosen_threshold: See `evaluate`.
    """

    def __init__(self, chosen_threshold: float | None = None) -> None:
        if chosen_threshold is not None:
            check_numbers("evaluate", 0, 1, chosen_threshold=chosen_threshold)
        self._names: list[str] = []
        self._pools = {view: Pool() for view in VIEWS}
        self._network = _System(_THRESHOLD)
        self._chosen = None if chosen_threshold is None else _System(float(chosen_threshold))
        self._second: _System | None = _System(_THRESHOLD)

    def add(self, fundus: Fundus, probability: NDArray[Any]) -> dict[str, float]:
        """Score an image.

        Args:
            fundus: The image, with a label.
            probability: Its probability map, shape (H, W), values between 0 and 1.

        Returns:
            The scores of the whole image at 0.5: the scores of `pooled_scores`, and ``clDice``.
        """
        check_kind("evaluate", Fundus, images=fundus)
        label, fov = fundus.label, fundus.fov
        if label is None:
            raise ValueError(f"evaluate: every image must have a label; missing: {fundus.name}")
        if not fov.any():
            raise ValueError(f"evaluate: image {fundus.name} must have a field of view, got none")
        check_values("evaluate", "probabilities", probability, f"for image {fundus.name}")
        if probability.shape != fov.shape:
            raise ValueError(
                f"evaluate: probabilities must have the shape of their image, {fov.shape}, got "
                f"{probability.shape} for image {fundus.name}"
            )
        self._names.append(fundus.name)
        inside, outside = (Counts.of(probability[part], label[part]) for part in (fov, ~fov))
        counts = {"whole": joined([inside, outside]), "fov": inside}
        for view, pool in self._pools.items():
            pool.add(counts[view])
        areas = {view: counted.areas() for view, counted in counts.items()}
        truth = _views(label, fov)
        self._add_second(fundus, truth)
        if self._chosen is not None:
            self._chosen.add(probability > self._chosen.threshold, truth, fov, areas)
        self._network.add(probability > _THRESHOLD, truth, fov, areas)
        return self._network.rows["whole"][-1]

    def _add_second(self, fundus: Fundus, truth: Mapping[str, VesselMask]) -> None:
        """Score the second observer, as long as each image has one."""
        if fundus.second_label is None:
            self._second = None
        elif self._second is not None:
            self._second.add(fundus.second_label, truth, fundus.fov, _NO_AREAS)

    def counts(self) -> Counts:
        """The pixels of all whole images by their probability."""
        return self._pools["whole"].total()

    def second_observer(self) -> Confusion | None:
        """The confusion matrix of the second observer on all whole images, if all have one."""
        return None if self._second is None else self._second.confusions["whole"]

    def evaluation(self, about: Mapping[str, Any] | None = None) -> Evaluation:
        """All scores, with the report's other entries."""
        if not self._names:
            raise ValueError("evaluate: images must hold at least 1 image, got none")
        areas = {view: pool.total().areas() for view, pool in self._pools.items()}
        return Evaluation(
            tuple(self._names),
            self._network.scores(areas),
            None if self._chosen is None else self._chosen.scores(areas),
            None if self._second is None else self._second.scores(_NO_AREAS),
            about or {},
        )


class _System:
    """The counts and scores of the network at a threshold, or of the second observer."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.confusions = dict.fromkeys(VIEWS, Confusion(0, 0, 0, 0))
        self.rows: dict[str, list[dict[str, float]]] = {view: [] for view in VIEWS}

    def add(
        self,
        vessels: NDArray[np.bool_],
        truth: Mapping[str, VesselMask],
        fov: NDArray[np.bool_],
        areas: Mapping[str, tuple[float, float]],
    ) -> None:
        """Add the vessels that it found in an image."""
        for view, found in _views(vessels, fov).items():
            pixels = fov.size if view == "whole" else int(np.count_nonzero(fov))
            confusion = Confusion.of(found.pixels, truth[view].pixels, pixels)
            self.confusions[view] = self.confusions[view].plus(confusion)
            scores = confusion.scores(areas[view]) | {"clDice": found.cl_dice(truth[view])}
            self.rows[view].append(scores)

    def scores(self, areas: Mapping[str, tuple[float, float]]) -> SystemScores:
        """The scores of all images, with the pooled areas of each view."""
        whole, fov = (
            ViewScores(self.confusions[view].scores(areas[view]), spreads(self.rows[view]))
            for view in VIEWS
        )
        return SystemScores(self.threshold, whole, fov)


def _views(vessels: NDArray[np.bool_], fov: NDArray[np.bool_]) -> dict[str, VesselMask]:
    """A vessel mask on the whole image, and within the field of view."""
    whole = VesselMask(vessels)
    return {"whole": whole, "fov": whole.inside(fov)}
