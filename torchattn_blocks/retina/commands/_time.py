"""The time limit of a command."""

import re
import time

import psutil


def seconds_left(max_time: str | None, reserve: float = 0.0) -> float | None:
    """Seconds that are left of `max_time`, counted from the start of the process.

    Args:
        max_time: The limit in seconds or as ``hours:minutes:seconds``, or None for no limit.
        reserve: Seconds to leave for other work.

    Returns:
        The seconds, at least 0.001, or None.

    Raises:
        ValueError: If `max_time` has another form.

    Example:
        >>> from torchattn_blocks.retina.commands._time import seconds_left
        >>> 0 < seconds_left("99:00:00") < 99 * 3600
        True
    """
    if max_time is None:
        return None
    if not re.fullmatch(r"\d+(:[0-5]\d:[0-5]\d)?", max_time):
        raise ValueError(
            "--max-time must be seconds, like 540, or hours:minutes:seconds, like 00:09:00, got "
            f"{max_time!r}"
        )
    *above, seconds = map(int, max_time.split(":"))
    hours, minutes = above or (0, 0)
    # From the start of the process: loading torch takes time too.
    passed = time.time() - psutil.Process().create_time()
    return max(3600 * hours + 60 * minutes + seconds - passed - reserve, 1e-3)
