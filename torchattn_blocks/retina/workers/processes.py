"""Processes of this machine as workers."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager

from .parent import end_with
from .tasks import Done, Result, Task, Waiting, WorkerDiedError, failed, handed_to

_TRIES = 3


class Processes:
    """Carries tasks out in processes, which end with this one.

    If a process dies, the tasks that had begun are carried out again one by one. If three processes
    in a row die on a task, it gets a `WorkerDiedError`.

    Args:
        count: How many tasks at the same time.

    Example:
        >>> from torchattn_blocks.retina.workers.processes import Processes
        >>> sorted(done.future.result() for done in Processes(2).carry_out(abs, [-1, -2]))
        [1, 2]
    """

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def is_over(self) -> Callable[[], bool]:
        """See `Workers`. Tasks need not call it: processes whose results nobody wants are ended."""
        return _never

    def carry_out(
        self, do: Callable[[Task], Result], tasks: Iterable[Task], every: float | None = None
    ) -> Generator[Done[Task, Result] | Waiting[Task], None, None]:
        """See `Workers`.

        Raises:
            ChildProcessError: If processes end before any task begins.
        """
        left = iter(tasks)
        while True:
            lost = []
            with _pool(self.count) as pool:
                for done in handed_to(pool, do, left, self.count + 1, every):
                    if isinstance(done, Done) and _has_lost(done):
                        lost.append(done.task)
                    else:
                        yield done
            if not lost:
                return
            _check_that_processes_start()
            yield from _one_by_one(do, lost, every)


def _one_by_one(
    do: Callable[[Task], Result], tasks: Iterable[Task], every: float | None
) -> Iterator[Done[Task, Result] | Waiting[Task]]:
    """Carry out tasks one by one, to see which of them kills a process."""
    waiting, deaths = deque(tasks), 0
    while waiting:
        with _pool(1) as pool:
            for done in handed_to(pool, do, list(waiting), 1, every):
                if isinstance(done, Waiting):
                    yield done
                elif _has_lost(done):
                    deaths += 1
                    break
                else:
                    waiting.popleft()
                    deaths = 0
                    yield done
        if deaths == _TRIES:
            error = WorkerDiedError(f"{_TRIES} processes died of it: perhaps memory was short")
            yield Done(waiting.popleft(), failed(error))
            deaths = 0


def _check_that_processes_start() -> None:
    with _pool(1) as pool:
        try:
            pool.submit(_never).result()
        except BrokenExecutor:
            raise ChildProcessError("processes end as soon as they are started here") from None


def _has_lost(done: Done[Task, Result]) -> bool:
    return isinstance(done.future.exception(), BrokenExecutor)


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for a block of code. If an error ends the block, they end at once."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start, (os.getpid(),))
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(parent: int) -> None:
    """Begin a process: it ends with its parent, and only the parent reacts to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def _never() -> bool:
    return False
