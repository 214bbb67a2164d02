"""Work that ends before a deadline."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class OutOfTimeError(Exception):
    """The next piece of work may not end before the deadline."""


class TimeLimit:
    """Lets work start only if it ends before the deadline when it takes as long as its longest."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"train: max_time must be above 0 seconds, got {seconds}")
        self.end = math.inf if seconds is None else monotonic() + seconds
        self.longest: dict[str, float] = {}

    @contextmanager
    def timed(self, work: str) -> Iterator[None]:
        """Time work of one kind, or raise `OutOfTimeError` before it starts."""
        start = monotonic()
        # Work of a new kind may take as long as any other. A fifth more, because times vary.
        longest = self.longest.get(work, max(self.longest.values(), default=0.0))
        if start + 1.2 * longest > self.end:
            raise OutOfTimeError
        yield
        self.longest[work] = max(self.longest.get(work, 0.0), monotonic() - start)
