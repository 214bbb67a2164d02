"""Settings for all tests."""

import os

# Tests run in two processes. With several threads each, these would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# The same examples in every run, so that a run repeats; no deadline, for the machine may be shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
