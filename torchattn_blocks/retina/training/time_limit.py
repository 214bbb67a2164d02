"""Work that ends before a deadline."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..._check import check_numbers


class TimeLimit:
    """Predicts whether work will end before a deadline, from how long it took before."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None:
            check_numbers("train", 0, ends="(]", max_time=seconds)
        self.end = math.inf if seconds is None else monotonic() + seconds
        self.longest: dict[str, float] = {}

    def allows(self, *works: str) -> bool:
        """Whether work of these kinds, one after the other, should end before the deadline."""
        # Work of a new kind may take as long as any other. A fifth more, because times vary.
        unknown = max(self.longest.values(), default=0.0)
        return monotonic() + 1.2 * sum(self.longest.get(w, unknown) for w in works) <= self.end

    @contextmanager
    def timed(self, work: str) -> Iterator[None]:
        """Time work of one kind."""
        start = monotonic()
        yield
        self.longest[work] = max(self.longest.get(work, 0.0), monotonic() - start)
