"""Tables in Markdown of what was measured."""

import math
from collections.abc import Callable, Mapping, Sequence


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(decimals, 4)}f}"


def environment(results: dict) -> str:
    machine = results["machine_info"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    missing = "".join(f" {reason}." for reason in machine["missing"])
    gpu = machine["gpu"] and f"{machine['gpu']}, "
    return (
        f"{gpu}{machine['cpu']['brand_raw']}, {machine['threads']} threads, Python "
        f"{machine['python_version']}, {versions}; {results['datetime'][:10]}.{missing}"
    )


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    align = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, align, *rows]) + "\n"


def shape_name(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def grid(
    rows: list[dict], cell: Callable[[dict], str], about: Mapping[str, str] | None = None
) -> str:
    """A table with a row for each contender and a column for each shape.

    What stands `about` a contender comes first: headings, and the keys of their values in `rows`.
    """
    about = about or {}
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    names = {row["name"]: [row[key] for key in about.values()] for row in rows}
    found = {(row["name"], tuple(row["shape"])): row for row in rows}
    lines = []
    for name, values in names.items():
        cells = [cell(found[name, s]) if (name, s) in found else "" for s in shapes]
        lines.append([name, *values, *cells])
    return table(["", *about, *map(shape_name, shapes)], lines, left=1 + len(about))


def of_passes(rows: list[dict], passes: str) -> list[dict]:
    return [row for row in rows if row["passes"] == passes]


def ratio_cell(row: dict) -> str:
    low, high = row["ratio_quartiles"]
    return f"{significant(row['ratio'])} ({significant(low)}–{significant(high)})"
