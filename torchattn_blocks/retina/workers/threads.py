"""Threads of this process as workers."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from .tasks import Done, Result, Task, Waiting, failed, handed_to


class Threads:
    """Carries tasks out in threads; with one thread, in the thread that asks for the results.

    Args:
        count: How many tasks at the same time.

    Example:
        >>> from torchattn_blocks.retina.workers.threads import Threads
        >>> sorted(done.future.result() for done in Threads(2).carry_out(abs, [-1, -2, -3]))
        [1, 2, 3]
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._stopped = Event()

    @property
    def is_over(self) -> Callable[[], bool]:
        """See `Workers`."""
        return self._stopped.is_set

    def carry_out(
        self, do: Callable[[Task], Result], tasks: Iterable[Task], every: float | None = None
    ) -> Generator[Done[Task, Result] | Waiting[Task], None, None]:
        """See `Workers`. If you leave it early, it waits for the tasks that have begun."""
        if self.count == 1 and every is None:
            for task in tasks:
                yield Done(task, _called(do, task))
            return
        pool = ThreadPoolExecutor(self.count)
        try:
            yield from handed_to(pool, do, tasks, 2 * self.count, every)
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)


def _called(do: Callable[[Task], Result], task: Task) -> Future[Result]:
    """The result of a function for a task, or the error that it raises."""
    future: Future[Result] = Future()
    try:
        future.set_result(do(task))
    except Exception as error:
        return failed(error)
    return future
