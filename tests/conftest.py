"""Settings for all tests."""

from hypothesis import settings

# The same examples in every run, so that a run repeats; no deadline, for the machine may be shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
