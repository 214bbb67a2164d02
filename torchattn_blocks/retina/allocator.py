"""Fresh memory is the dearest part of a training step on a CPU: keep what was freed."""

import ctypes
import sys

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next tensor in place of returning it.

    By default glibc maps each large tensor anew, and the kernel clears every page of it on first
    touch: some 15% of a training step of RSAN at 592 x 592 on a busy machine. The process then
    holds on to its peak memory until it ends. Affects the whole process; does nothing but return
    False where the C library is another than glibc.

    Example:
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
