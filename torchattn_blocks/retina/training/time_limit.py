"""Work that stops in time."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class OutOfTimeError(Exception):
    """What would be timed does not fit into the time left."""


class TimeLimit:
    """Lets a piece of work begin only if, taking as long as its longest so far, it ends in time."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"max_time must be above 0 seconds, got {seconds}")
        self.end = math.inf if seconds is None else monotonic() + seconds
        self.longest: dict[str, float] = {}

    @contextmanager
    def timed(self, work: str) -> Iterator[None]:
        """Time a piece of work of some kind, or raise `OutOfTimeError` before it begins."""
        start = monotonic()
        # Work of a kind not yet timed may take as long as any. A fifth more: times scatter.
        longest = self.longest.get(work, max(self.longest.values(), default=0.0))
        if start + 1.2 * longest > self.end:
            raise OutOfTimeError
        yield
        self.longest[work] = max(self.longest.get(work, 0.0), monotonic() - start)
