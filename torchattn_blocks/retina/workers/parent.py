"""Processes that end with the process that started them, even if that is killed."""

import os
import time
from threading import Thread

# Names the parent of a program in its environment.
PARENT = "TORCHATTN_PARENT"
_POLL = 0.2  # seconds


def end_with(parent: int) -> None:
    """Make this process end as soon as its parent, with this process number, ends."""
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)
