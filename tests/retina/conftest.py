"""What the tests of the retinal application share."""

import os
import random
from pathlib import Path

import pytest


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
