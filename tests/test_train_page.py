"""The page on training: its commands and its Python examples run as they stand."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from torchattn_blocks.retina.commands._parse import parse

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "train.md").read_text(encoding="utf-8")


@pytest.fixture
def drawing():
    """The script that runs the commands."""
    spec = importlib.util.spec_from_file_location("draw_training", DOCS / "draw_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_go_from_images_to_vessels(drawing):
    names = [arguments[0] for arguments in drawing.commands()]
    assert names == ["synthesize", "train", "evaluate", "segment"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_run(drawing, tmp_path):
    drawing.run(tmp_path)
    assert (tmp_path / "runs" / "mine" / "curves.png").is_file()
    assert (tmp_path / "runs" / "scores" / "synthetic-0004.png").is_file()
    assert (tmp_path / "maps" / "synthetic-0004-vessels.png").is_file()


def test_the_python_example_runs():
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(code, {})


@pytest.mark.parametrize(
    "page", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]), ids=lambda path: path.stem
)
def test_the_commands_of_every_page_can_be_parsed(page):
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("torchattn-retina "):
            assert parse(shlex.split(line)[1:])
