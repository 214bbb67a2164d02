"""New memory is expensive in a training step on a CPU: keep what was freed."""

import ctypes
import sys

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next tensor instead of returning it to the system.

    By default glibc asks the system for each large tensor, and the system clears every page of it:
    about 15 % of a training step of RSAN at 592 x 592. After this call the process keeps its peak
    memory until it ends. The call affects the whole process, so the library never makes it: the
    command line and the example do.

    Returns:
        Whether it took effect: False if the C library is not glibc.

    Example:
        >>> from torchattn_blocks.retina import keep_freed_memory
        >>> keep_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TOP_PAD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
