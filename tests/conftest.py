"""Settings for all tests."""

import os
import sys
from pathlib import Path

# Tests run in two processes. With several threads each, these would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# The examples' networks are tested, and some tests use them.
sys.path.append(str(Path(__file__).parents[1] / "examples" / "hosts"))

# The same examples in every run, so that a run repeats; no deadline, for the machine may be shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
