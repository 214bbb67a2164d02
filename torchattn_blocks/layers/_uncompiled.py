"""Compiled code that runs uncompiled for a while."""

from threading import Lock
from typing import Any

import torch


class Uncompiled:
    """Lets compiled code of the whole process run uncompiled until all who entered have left.

    Torch's own context manager acts on the whole process too, but restores what it found: if two of
    them overlap and the first leaves first, as in two threads, nothing is ever compiled again.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.entered = 0
        self.stance: Any = None

    def __enter__(self) -> None:
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.stance = torch.compiler.set_stance("force_eager")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.entered -= 1
            if self.entered == 0:
                self.stance.__exit__(None, None, None)


uncompiled = Uncompiled()
