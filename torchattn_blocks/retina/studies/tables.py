"""The tables of a study, as Markdown and as CSV."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from ..evaluation.tables import aligned, short
from ..write import csv_text
from .grid import Grid
from .paper import NOTES, PAPER
from .results import COMPARED, SCORES, VIEWS, Row

_HOW = (
    "All pixels pooled, threshold 0.5; clDice is the mean over images. Mean ± sample standard "
    "deviation over seeds, folds or data sets. last: the last weights, which we "
    "recommend; best: the weights with the lowest validation loss; flips: averaged over each image "
    "and its three flips."
)


def markdown(grid: Grid, rows: Sequence[Row]) -> str:
    """Format the rows of a study as Markdown: two tables for each data set and view.

    The first has the scores of the paper and of the systems, the second has differences.
    """
    parts = [f"# {grid.title}", *filter(None, [grid.about]), _HOW]
    for place in dict.fromkeys(row[:3] for row in rows):
        dataset, images, view = place
        here = [row for row in rows if row[:3] == place]
        first, *_ = [row for row in here if row.kind == "scores"]
        parts.append(f"## {dataset}, {images}, {VIEWS[view]}")
        parts.append(_table([row for row in here if row.kind != "difference"], SCORES))
        if any("*" in _title(row) for row in here if row.kind == "paper"):
            parts.append(f"\\* {NOTES[dataset]}")
        if differences := [row for row in here if row.kind == "difference"]:
            parts.append(
                f"Differences from {', '.join(first.system)}, over the seeds and folds that both "
                "have:"
            )
            parts.append(_table(differences, COMPARED, sign="+"))
    return "\n\n".join(parts) + "\n"


def comma_separated(rows: Sequence[Row]) -> str:
    """Format the rows of a study as CSV: means and standard deviations in full."""
    names = [column for name in SCORES for column in (name, f"{name} std")]
    head = "data set,images,view,kind,model,recipe,options,evaluation,n,of"
    return csv_text([*head.split(","), *names], map(_cells, rows))


def _cells(row: Row) -> list[Any]:
    numbers = [n for name in SCORES for n in (row.mean(name), row.std(name))]
    cells = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
    counts = [len(row.each), len(row.runs)] if row.runs else ["", ""]
    return [*row[:4], *row.system, row.evaluation, *counts, *cells]


def _table(rows: Sequence[Row], names: Sequence[str], sign: Literal["", "+"] = "") -> str:
    head = ["system", "runs", *names]
    return aligned(
        [head, *([_title(r), r.how_many, *(_cell(r, n, sign) for n in names)] for r in rows)]
    )


def _title(row: Row) -> str:
    if row.kind == "paper":
        return f"the paper's {PAPER[row.dataset][row.system.model].title}"
    return ", ".join([*row.system, row.evaluation])


def _cell(row: Row, name: str, sign: Literal["", "+"]) -> str:
    mean, std = row.mean(name), row.std(name)
    return short(mean, sign) + ("" if math.isnan(std) else f" ± {short(std)}")
