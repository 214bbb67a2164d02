"""The README's examples run as they stand, and the files that it names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The one with trained weights on a whole photograph is what examples/rsan_drive.py does.
EXAMPLES = [
    code for code in re.findall(r"```python\n(.*?)```", README, re.S) if "retina" not in code
]
PAGES = {  # the examples of a page go on from each other
    page: re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.S
    )
    for page in (
        "drop_block",
        "stochastic_depth",
        "attention",
        "surgery",
        "where",
        "unet",
        "memory",
    )
}


@pytest.mark.parametrize("code", [*EXAMPLES, *("\n".join(page) for page in PAGES.values())])
def test_an_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # one draws a figure
    exec(code, {})


def test_the_page_on_other_networks_shows_what_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "\n".join(PAGES["surgery"])
    exec(code, {})
    shown = [line[1:].strip() for line in code.splitlines() if line.startswith("#")]
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == shown


def test_the_examples_are_found() -> None:
    assert (len(EXAMPLES), [len(page) for page in PAGES.values()]) == (3, [2, 2, 4, 3, 2, 11, 1])


def test_the_table_of_libraries_is_the_measured_one() -> None:
    table = (ROOT / "docs" / "drop_block" / "summary.md").read_text(encoding="utf-8")
    assert table.count("\n") > 5
    assert table in README


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/index.md", "findings/README.md"]
)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.skipif(not (ROOT / "findings").exists(), reason="no clone")
def test_every_finding_is_listed_and_says_what_it_shows() -> None:
    listed = re.findall(r"\]\((\w+\.sh)\)", (ROOT / "findings" / "README.md").read_text())
    scripts = [*(ROOT / "findings").glob("*.sh")]
    assert sorted(listed) == sorted(path.name for path in scripts)
    for path in scripts:
        head, _, code = path.read_text(encoding="utf-8").partition("set -euo pipefail")
        said = re.findall(
            r"^# (Package|Valid input|Seen|Expected|What a user can do|Exit)", head, re.M
        )
        assert said == ["Package", "Valid input", "Seen", "Expected", "What a user can do", "Exit"]
        assert "torchattn" not in code


# By benchmarks.
WRITTEN = {ROOT / "docs" / name for name in ("unet_peers.md", "memory/steps.md")}
WRITTEN |= {ROOT / "docs" / name for name in ("drop_block/times.md", "drop_block/facts.md")}
WRITTEN |= {ROOT / "docs" / "attention" / "times.md"}


def test_markdown_wraps_at_120_columns() -> None:
    pages = {*ROOT.glob("*.md"), *ROOT.glob("[dewfb]*/**/*.md")}
    assert pages >= WRITTEN
    found = []
    for path in sorted(pages - WRITTEN):
        code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code ^= line.lstrip().startswith(("```", ":::"))
            table = line.lstrip().startswith(("|", "![", "<!--"))
            if len(line) > 120 and not (code or table or " " not in line.strip()):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_tests_named_in_the_readme_are_there() -> None:
    named = re.findall(r"`((?:tests|docs|examples)/[\w./]+\.py)`", README)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).is_file()] == []
