"""Scores as Markdown."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal


def markdown_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Format scores as a Markdown table.

    Args:
        rows: For each row title, a dictionary from score names to scores. All rows must have the
            score names of the first row. NaN is printed as a dash.

    Raises:
        ValueError: If `rows` is empty.

    Example:
        >>> from torchattn_blocks.retina import markdown_table
        >>> print(markdown_table({"RSAN": {"F1": 0.82221, "AUC": float("nan")}}))
        |      |    F1 | AUC |
        |------|------:|----:|
        | RSAN | .8222 |   – |
    """
    if not rows:
        raise ValueError("markdown_table: rows must have at least 1 entry, got none")
    names = list(next(iter(rows.values())))
    return aligned(
        [["", *names], *([title, *(short(row[n]) for n in names)] for title, row in rows.items())]
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format cells as a Markdown table. The first row is its head, the first column its titles."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in rows
    ]
    rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (w + 1)}:|" for w in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def short(score: float, sign: Literal["", "+"] = "") -> str:
    """Four digits and no leading zero, as in the paper's tables; `sign` as in a format."""
    return "–" if math.isnan(score) else re.sub(r"^([+-]?)0\.", r"\1.", f"{score:{sign}z.4f}")
