"""The figure of differences against means."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..colours import BLUE, GREY, VERMILLION
from ..write import write_figure
from .reliability import Agreement, agreement

_ACROSS = 3  # panels in a row
_LINE = 35  # letters of the title above a panel


def save_bland_altman(
    path: str | Path,
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
) -> None:
    """Save a figure with a panel for each measure: a point for each pair that has no NaN.

    A point shows the difference of its two numbers, first minus second, against their mean. Lines
    mark no difference, the mean difference and the limits of agreement.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        pairs: For each panel title, the first and the second numbers.
        labels: Names of the two methods.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.measures.bland_altman import save_bland_altman
        >>> pairs = {"density": ([0.12, 0.13, 0.11], [0.11, 0.13, 0.12])}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "agreement.png")
        ...     save_bland_altman(path, pairs, ("network", "observer"))
        ...     path.is_file()
        True
    """
    across = min(_ACROSS, len(pairs))
    down = math.ceil(len(pairs) / across)
    figure = Figure(figsize=(3.6 * across, 0.9 + 2.9 * down), layout="constrained", dpi=150)
    # File names may hold dollar signs: these are not mathematics.
    figure.suptitle(textwrap.fill(" − ".join(labels), _LINE * across), parse_math=False)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, (title, (first, second)) in zip(panels, pairs.items(), strict=False):
        axes.set(title=title, xlabel="mean of the two", ylabel="difference")
        _draw(axes, np.array(first, float), np.array(second, float), agreement(first, second))
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()[1:]}
    figure.legend(handles.values(), [*handles], loc="outside lower center", ncols=len(handles))
    write_figure(path, figure)


def _draw(
    axes: Axes, first: NDArray[np.float64], second: NDArray[np.float64], result: Agreement
) -> None:
    """The points and lines of one panel. A line that is NaN is left out."""
    means = (first + second) / 2
    axes.plot(means, first - second, "o", color=BLUE, markeredgecolor="black", alpha=0.7)
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":", label="no difference")
    for value, style, label in (
        (result.mean_difference, "-", "mean difference"),
        (result.lower, "--", "limits of agreement"),
        (result.upper, "--", "limits of agreement"),
    ):
        if math.isnan(value):
            continue
        axes.axhline(value, linestyle=style, color=VERMILLION, label=label)
        axes.annotate(
            f"{value:.4g}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize="small",
        )
    axes.margins(x=0.1, y=0.15)
    axes.grid(color=GREY, linewidth=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
