"""The scores that documents tell of are those of the committed reports."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchattn_blocks.retina import Evaluation, Spread, SystemScores, ViewScores

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "weights.md",
    *sorted((ROOT / "weights" / "torchattn_retina_weights").glob("*.md")),
]
VIEWS = {"whole image": "whole", "field of view": "fov"}
_REPORT = re.compile(r"\]\(([^)]*report\.json)\)")


def rows(document: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Report, view and cells by column of the table rows that link to a report.

    The head of such a table names the view in its first cell: ``whole image`` and so on.
    """
    head: list[str] = []
    for line in document.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif link := _REPORT.search(cells[0]):
            yield link[1], VIEWS[head[0]], dict(zip(head[1:], cells[1:], strict=True))


def told_otherwise(document: Path) -> list[str]:
    """Each score of a document that is not its report's, rounded."""
    found = []
    for link, view, cells in rows(document):
        scored = Evaluation.load(document.parent / link).network.views()[view]
        scores = {**scored.pooled, "clDice": scored.per_image["clDice"].mean}
        for name, told in cells.items():
            if told != f"{scores[name]:.4f}".removeprefix("0"):
                found.append(f"{document.name}, {link}, {name}: {told}, not {scores[name]:.4f}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_tell_what_reports_say(document: Path) -> None:
    assert list(rows(document))
    assert told_otherwise(document) == []


def test_a_wrong_score_is_seen(tmp_path: Path) -> None:
    view = ViewScores({"F1": 0.81234}, {"clDice": Spread(0.8, 0.0)})
    Evaluation(("01",), SystemScores(0.5, view, view)).save(tmp_path / "report.json")
    table = "| whole image | F1 | clDice |\n|---|---|---|\n| [ours](report.json) | {} | .8000 |"
    document = tmp_path / "page.md"
    document.write_text(table.format(".8123"))
    assert told_otherwise(document) == []
    document.write_text(table.format(".8124"))
    assert told_otherwise(document) == ["page.md, report.json, F1: .8124, not 0.8123"]
