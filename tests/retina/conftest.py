"""What the tests of the retinal application share."""

import os
import random
import sys
from pathlib import Path

import pytest

from torchattn_blocks.retina import __main__ as program


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process: what it printed, or raise SystemExit as the program does."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["retina", *map(str, arguments)])
        program.main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Ten small images as `synthesize` writes them: two of them for the test."""
    root = tmp_path_factory.mktemp("images")
    arguments = ["synthesize", 10, "--out", root, "--height", 64, "--width", 72]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["retina", *map(str, arguments)])
        program.main()
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds ``DRIVE/`` and ``CHASE_DB1/``, which may not be redistributed."""
    named = os.environ.get("TORCHATTN_DATA")
    if not named:
        pytest.skip("real images: set TORCHATTN_DATA to a folder with DRIVE/ and CHASE_DB1/")
    for folder in ("DRIVE", "CHASE_DB1"):
        if not Path(named, folder).is_dir():
            pytest.skip(f"real images: TORCHATTN_DATA={named} holds no folder {folder}")
    return Path(named)


@pytest.fixture
def arbitrary_listing_order(monkeypatch):
    """Let folders be listed in an order that changes, as file systems are free to."""
    listed, shuffle = Path.iterdir, random.Random(0).shuffle

    def iterdir(folder):
        paths = list(listed(folder))
        shuffle(paths)
        return iter(paths)

    monkeypatch.setattr(Path, "iterdir", iterdir)
