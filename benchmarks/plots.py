"""The plot of the reports: what each contender costs, over the size of the feature maps."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
from libraries import OURS

from torchattn_blocks.retina.colours import BLUE, GREEN, ORANGE, PURPLE, VERMILLION

# By what stands before the comma in a name. Blue is ours alone, black is plain torch.
COLOURS = {
    OURS: BLUE,
    "F.dropout": "black",
    "textbook": "black",
    "timm": ORANGE,
    "torchvision": GREEN,
    "MONAI": PURPLE,
    "dropblock": PURPLE,
    "smp": VERMILLION,
}
LINES = ("-", "--", ":")


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How to draw the line of each name, ours first and thicker.

    A library has one colour. Its variants, what stands behind the comma, have other lines than the
    solid one of the name alone.
    """
    libraries: dict[str, list[str]] = {OURS: [OURS]}
    for name in names:
        library, _, variant = name.partition(",")
        known = libraries.setdefault(library, [library])
        if variant and name not in known:
            known.append(name)
    found = {}
    for library, known in libraries.items():
        own = {"linewidth": 2.2, "marker": "o", "zorder": 3}
        shared = own if library == OURS else {"linewidth": 1.1, "marker": "."}
        for name, line in zip(known, LINES[: len(known)], strict=True):
            found[name] = {"color": COLOURS[library], "linestyle": line, **shared}
    return found


def draw(axis: plt.Axes, rows: list[dict], title: str, style: Mapping[str, Any]) -> None:
    """A line for each name in `rows`, in its style."""
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        mine.sort(key=lambda row: math.prod(row["shape"]))
        sizes = [math.prod(row["shape"]) for row in mine]
        axis.plot(sizes, [row["ratio"] for row in mine], label=name, **style[name])
    axis.set(xscale="log", yscale="log", title=title, xlabel="elements of the feature maps")
    axis.grid(alpha=0.3)


def legend_of(figure: plt.Figure, style: Mapping[str, Any]) -> dict[str, Any]:
    """The lines of a figure and their names, in the order of the styles."""
    lines = {str(line.get_label()): line for axis in figure.axes for line in axis.lines}
    names = [name for name in style if name in lines]
    return {"handles": [lines[name] for name in names], "labels": names, "handlelength": 3.5}
