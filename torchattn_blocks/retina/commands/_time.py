"""How long a command may take."""

import re
import time

import psutil


def seconds_left(max_time: str | None) -> float | None:
    """Seconds until `max_time`, as ``hours:minutes:seconds``, has passed since the program began.

    Hardly any where it has passed already; None where there is no limit.

    Raises:
        ValueError: If it is written otherwise.

    Example:
        >>> 0 < seconds_left("99:00:00") < 99 * 3600
        True
    """
    if max_time is None:
        return None
    match = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", max_time)
    if match is None:
        raise ValueError(f"--max-time must be hours:minutes:seconds, as 00:09:00, got {max_time!r}")
    hours, minutes, seconds = map(int, match.groups())
    # From the start of the process: what loading torch took counts.
    passed = time.time() - psutil.Process().create_time()
    return max(3600 * hours + 60 * minutes + seconds - passed, 1e-3)
