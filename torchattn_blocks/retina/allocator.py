"""New memory is expensive in a training step on a CPU: keep what was freed."""

import ctypes
import os
import sys
from pathlib import Path

# Names of glibc's malloc.h.
_M_MXFAST, _M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = 1, -1, -2, -4

# Torch reads it when it allocates its first tensor.
_PAGES = "THP_MEM_ALLOC_ENABLE"
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def keep_freed_memory(*, page_aligned: bool = False) -> bool:
    """Make glibc keep freed memory for the next tensor instead of returning it to the system.

    By default glibc asks the system for each large tensor, and the system clears every page of it:
    about 15 % of a training step of RSAN at 592 x 592. After this call the process keeps its peak
    memory until it ends. The call affects the whole process, so the library never makes it: the
    command line and the example do.

    Args:
        page_aligned: Also start each tensor of 2 MiB or more at a page of memory, which makes
            more of the freed memory fit again. It is for networks with `memory_efficient`: their
            peak falls by about a fifth, and that of others rises by a twentieth. Torch must not
            have made a tensor yet (it reads its variable `THP_MEM_ALLOC_ENABLE` then; a value
            that is set stays), and Linux must know huge pages.

    Returns:
        Whether freed memory is kept: False if the C library is not glibc.

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
    settings = [(_M_MMAP_MAX, 0), (_M_TOP_PAD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1)]
    if page_aligned and _HUGE_PAGES.exists():  # elsewhere torch warns
        os.environ.setdefault(_PAGES, "1")
        settings.append((_M_MXFAST, 0))  # small blocks join freed neighbours
    return all(mallopt(name, value) == 1 for name, value in settings)
