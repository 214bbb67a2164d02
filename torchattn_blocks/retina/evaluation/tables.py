"""Scores as Markdown."""

import math
import re
from collections.abc import Mapping


def markdown_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Format scores as a Markdown table.

    Args:
        rows: Scores by name, for each row by its title. All rows have the scores of the first. NaN
            becomes a dash.

    Example:
        >>> from torchattn_blocks.retina import markdown_table
        >>> print(markdown_table({"RSAN": {"F1": 0.82221, "AUC": float("nan")}}))
        |      |    F1 | AUC |
        |------|------:|----:|
        | RSAN | .8222 |   – |
    """
    names = list(next(iter(rows.values())))
    cells = [
        ["", *names],
        *([title, *(_cell(row[n]) for n in names)] for title, row in rows.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in cells
    ]
    rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (w + 1)}:|" for w in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(score: float) -> str:
    """Four digits and no leading zero, as in the paper's tables."""
    return "–" if math.isnan(score) else re.sub(r"^(-?)0\.", r"\1.", f"{score:.4f}")
