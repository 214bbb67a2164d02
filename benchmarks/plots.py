"""The plot of the reports: what each contender costs, over the size of the feature maps."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from libraries import OURS


def draw(axis: plt.Axes, rows: list[dict], title: str, colours: Mapping[str, Any]) -> None:
    """A line for each name in `rows`, ours thicker."""
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        mine.sort(key=lambda row: math.prod(row["shape"]))
        ours = name.startswith(OURS)
        axis.plot(
            [math.prod(row["shape"]) for row in mine],
            [row["ratio"] for row in mine],
            marker="o" if ours else ".",
            linewidth=2.2 if ours else 1.1,
            color=colours[name],
            label=name,
        )
    axis.set(xscale="log", yscale="log", title=title, xlabel="elements of the feature maps")
    axis.grid(alpha=0.3)
