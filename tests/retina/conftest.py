"""What the tests of the retinal application share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds ``DRIVE/`` and ``CHASE_DB1/``, which may not be redistributed."""
    named = os.environ.get("TORCHATTN_DATA")
    if not named:
        pytest.skip("real photographs: set TORCHATTN_DATA to a folder with DRIVE/ and CHASE_DB1/")
    for folder in ("DRIVE", "CHASE_DB1"):
        if not Path(named, folder).is_dir():
            pytest.skip(f"real photographs: TORCHATTN_DATA={named} holds no folder {folder}")
    return Path(named)
