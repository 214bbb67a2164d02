"""The figure of a study."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..colours import BLUE, GREY, ORANGE
from ..write import write_figure
from .paper import PAPER
from .results import Row

_SHOWN = ("F1", "AUC")
_ROW, _MARGIN = 0.42, 1.0  # height of a system, and of the space around a panel, in inches


def save_study_figure(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Save a figure of F1 and AUC on whole images, with the weights of the last epoch.

    Each data set has a row of panels, with a line for each system. A line has a dot for each seed
    and fold, their mean, and the paper's score if it has one for this network, recipe and options.

    Args:
        path: The file.
        title: Title of the figure.
        rows: The rows of the study's tables.
    """
    shown = [row for row in rows if row.view == "whole" and row.evaluation == "last"]
    systems = [row for row in shown if row.kind == "scores"]
    paper = {(row.dataset, row.images, row.system): row for row in shown if row.kind == "paper"}
    places = list(dict.fromkeys((row.dataset, row.images) for row in systems))
    groups = [[row for row in systems if row[:2] == place] for place in places]
    heights = [_MARGIN + _ROW * len(group) for group in groups]
    figure = Figure(figsize=(11, 1 + sum(heights)), layout="constrained", dpi=150)
    figure.suptitle(f"{title}\nwhole images, last weights")
    panels = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
    for group, place, pair in zip(groups, places, panels, strict=True):
        common, labels = _labels(group)
        for axes, name in zip(pair, _SHOWN, strict=True):
            for y, row in enumerate(group):
                _draw(axes, y, name, row, paper.get((*place, row.system)))
            axes.set(title=", ".join([*place, *common]), xlabel=name, ylim=(len(group) - 0.5, -0.5))
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.set_yticks(range(len(group)), labels if axes is pair[0] else [""] * len(group))
            axes.grid(axis="x", color=GREY, linewidth=0.5)
    marks = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    figure.legend(marks.values(), [*marks], loc="outside lower center", ncols=len(marks))
    write_figure(path, figure)


def _labels(group: Sequence[Row]) -> tuple[list[str], list[str]]:
    """What all systems have in common, and what distinguishes each."""
    columns = [*zip(*(row.system for row in group), strict=True)]
    common = [column[0] for column in columns if len(set(column)) == 1]
    return common, [
        ", ".join(part for part in row.system if part not in common) + f"\n{row.how_many}"
        for row in group
    ]


def _draw(axes: Axes, y: int, name: str, row: Row, paper: Row | None) -> None:
    """Draw a system: its seeds and folds below their mean and the paper's score."""
    values = [scores[name] for scores in row.each]
    below = [y + 0.22] * len(values)
    axes.plot(values, below, "o", color=BLUE, alpha=0.7, label="a seed or fold")
    axes.plot(row.mean(name), y, "D", color=ORANGE, markeredgecolor="black", label="mean")
    if paper is not None:
        score, title = paper.mean(name), PAPER[row.dataset][row.system.model].title
        label = "the paper (*: taken from another paper)"
        axes.plot(score, y, "|", color="black", markersize=18, markeredgewidth=2, label=label)
        if "*" in title:
            axes.annotate("*", (score, y), (4, 4), textcoords="offset points")
