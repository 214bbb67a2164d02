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


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code: str) -> None:
    exec(code, {})


def test_there_are_two() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_tests_named_in_the_readme_are_there() -> None:
    named = re.findall(r"`((?:tests|docs|examples)/[\w./]+\.py)`", README)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).is_file()] == []
