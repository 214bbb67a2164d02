"""The interface of all workers, and how tasks are handed to an executor."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """The workers that carried out a task ended without a result."""


class Done(NamedTuple, Generic[Task, Result]):
    """A task that is over.

    Attributes:
        task: The task.
        future: Its result, or the error that ended it.
    """

    task: Task
    future: Future[Result]


class Waiting(NamedTuple, Generic[Task]):
    """No task has ended for a while.

    Attributes:
        running: The tasks that have begun.
    """

    running: tuple[Task, ...]


class Workers(Protocol):
    """The interface of all workers."""

    @property
    def is_over(self) -> Callable[[], bool]:
        """A function for tasks: it tells whether nobody waits for the result any more.

        Long tasks call it now and then, and end if it is true. It can be pickled if tasks must be.
        """

    def carry_out(
        self, do: Callable[[Task], Result], tasks: Iterable[Task], every: float | None = None
    ) -> Generator[Done[Task, Result] | Waiting[Task], None, None]:
        """Carry tasks out, several at the same time.

        Args:
            do: Carries one out. It is called again if a worker dies on the task.
            tasks: The tasks. They are taken as workers become free.
            every: Yield `Waiting` whenever no task has ended for so many seconds.

        Returns:
            Each task once it is over, in the order in which they end. If the caller stops taking
            them, tasks that have not begun are dropped.
        """


def handed_to(
    executor: Executor,
    do: Callable[[Task], Result],
    tasks: Iterable[Task],
    window: int,
    every: float | None = None,
    at_once: Callable[[], int] | None = None,
) -> Iterator[Done[Task, Result] | Waiting[Task]]:
    """Carry tasks out by an executor that gets at most `window` at a time; see `Workers`.

    A broken executor gets no more tasks. `at_once` says how many tasks have begun, if the futures
    of the executor do not.
    """
    left = iter(tasks)
    pending: dict[Future[Result], Task] = {}
    try:
        while True:
            for task in islice(left, window - len(pending)):
                try:
                    pending[executor.submit(do, task)] = task
                except BrokenExecutor as error:
                    pending[failed(error)] = task
                    left = iter(())
                    break
            if not pending:
                return
            over = wait(pending, timeout=every, return_when=FIRST_COMPLETED).done
            if not over:
                yield Waiting(tuple(_begun(pending, at_once)))
            for future in over:
                yield Done(pending.pop(future), future)
    finally:
        for future in pending:
            future.cancel()


def failed(error: Exception) -> Future[Result]:
    """The future of a task that could not be carried out."""
    future: Future[Result] = Future()
    future.set_exception(error)
    return future


def _begun(
    pending: dict[Future[Result], Task], at_once: Callable[[], int] | None
) -> Iterator[Task]:
    if at_once is not None:
        return islice(pending.values(), at_once())
    return (task for future, task in pending.items() if future.running())
