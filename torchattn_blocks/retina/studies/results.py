"""The scores of a study, from the reports in its folder."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from ..evaluation.report import Evaluation
from .paper import PAPER
from .run import EVALUATIONS, NEVER_SEEN, Run, System

VIEWS = {"whole": "whole image", "fov": "field of view"}
SCORES = ("SEN", "SPE", "F1", "ACC", "AUC", "AP", "MCC", "clDice")
OVERALL = "all data sets, each left out once"
COMPARED = ("F1", "AUC", "clDice")

Scores = Mapping[str, float]


class Row(NamedTuple):
    """A row of a study's tables.

    Attributes:
        dataset: Name of the data set; `OVERALL` for all data sets that were left out of a training.
        images: As ``Run.images``.
        view: ``"whole"`` or ``"fov"``.
        kind: Scores of a system, its differences from the first system, or scores in the paper.
        system: The system.
        evaluation: Which of the system's weights are scored, and how.
        each: The scores for each seed and fold that has a report.
        runs: All seeds and folds of the system in the study.
    """

    dataset: str
    images: str
    view: str
    kind: Literal["scores", "difference", "paper"]
    system: System
    evaluation: str
    each: Sequence[Scores]
    runs: Sequence[Run] = ()

    def mean(self, name: str) -> float:
        """The mean of a score; NaN without any, or if one is NaN."""
        values = self._values(name)
        return fmean(values) if values else math.nan

    def std(self, name: str) -> float:
        """The sample standard deviation of a score; NaN for fewer than two, or if one is NaN."""
        values = self._values(name)
        return math.nan if len(values) < 2 or math.isnan(sum(values)) else stdev(values)

    def _values(self, name: str) -> list[float]:
        return [scores[name] for scores in self.each if name in scores]

    @property
    def how_many(self) -> str:
        """How many seeds or folds there are: ``"2 of 3 seeds"``."""
        if not self.runs:
            return "–"
        seeds, of = len({run.seed for run in self.runs}), len(self.runs)
        unit = "fold" if self.images.endswith("folds") else "seed"
        unit = "set" if self.dataset == OVERALL else unit
        text = f"{len(self.each)} of {of} {unit}{'s' if of > 1 else ''}"
        return f"{text}, {seeds} seeds" if unit != "seed" and seeds > 1 else text


def study_rows(runs: Sequence[Run], out: Path) -> list[Row]:
    """The rows of all tables of a study.

    For each data set and view: the paper's scores, the scores of each system by each evaluation,
    and the differences from the first system on the data set, over the seeds and folds that both
    have. Data sets that were left out of a training also have rows for all of them together.

    Args:
        runs: The runs of the study.
        out: The folder of the study.

    Raises:
        ValueError: If a report is damaged.
    """
    reports = {
        (run, evaluation): _read(path)
        for run in runs
        for evaluation in EVALUATIONS
        if (path := run.report(out, evaluation)).is_file()
    }
    tables: dict[tuple[str, str], dict[System, list[Run]]] = {}
    for run in runs:
        systems = tables.setdefault((run.dataset, run.images), {})
        systems.setdefault(run.system, []).append(run)
    if left_out := [run for run in runs if run.trained_on]:
        everything = tables.setdefault((OVERALL, NEVER_SEEN), {})
        for run in left_out:
            everything.setdefault(run.system, []).append(run)
    rows: list[Row] = []
    for (dataset, images), systems in tables.items():
        if images == "test images":
            rows += _paper_rows(dataset, systems)
        first = next(iter(systems.values()))
        for view, evaluation in product(VIEWS, EVALUATIONS):
            place = dataset, images, view
            found = {
                run: reports[run, evaluation][view] for run in runs if (run, evaluation) in reports
            }
            for system, members in systems.items():
                each = [found[run] for run in members if run in found]
                rows.append(Row(*place, "scores", system, evaluation, each, members))
                if members is not first:
                    pairs = _pairs(members, first)
                    each = [
                        {name: found[run][name] - found[other][name] for name in COMPARED}
                        for run, other in pairs.items()
                        if run in found and other in found
                    ]
                    rows.append(Row(*place, "difference", system, evaluation, each, [*pairs]))
    return rows


def _pairs(runs: Sequence[Run], others: Sequence[Run]) -> dict[Run, Run]:
    """For each run, the one of the others with the same data set, seed and fold."""
    by_place = {(other.dataset, other.seed, other.fold): other for other in others}
    places = {run: (run.dataset, run.seed, run.fold) for run in runs}
    return {run: by_place[place] for run, place in places.items() if place in by_place}


def _paper_rows(dataset: str, systems: Iterable[System]) -> Iterator[Row]:
    """The paper's scores of the networks that a study trains on a data set."""
    for model in dict.fromkeys(system.model for system in systems):
        if dataset in PAPER:
            scores = PAPER[dataset][model].scores
            system = System(model, "paper", "default")
            yield Row(dataset, "test images", "whole", "paper", system, "last", [scores])


def _read(path: Path) -> dict[str, Scores]:
    """The scores in a report, by view."""
    try:
        views = Evaluation.load(path).network.views()
        return {
            view: {**one.pooled, "clDice": one.per_image["clDice"].mean}
            for view, one in views.items()
        }
    except (ValueError, KeyError) as error:
        fault = error if isinstance(error, ValueError) else f"{path}: this report has no {error}"
        raise ValueError(f"{fault}. Without this file, study scores again.") from error
