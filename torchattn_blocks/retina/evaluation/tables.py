"""Scores as Markdown."""

import math
import re
from collections.abc import Mapping


def markdown_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay scores out as a Markdown table, a row for each entry; what is undefined is a dash.

    Example:
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
    """Four digits and no leading zero, as the field's tables have it."""
    return "–" if math.isnan(score) else re.sub(r"^(-?)0\.", r"\1.", f"{score:.4f}")
