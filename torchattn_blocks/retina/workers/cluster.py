"""The workers of a Dask cluster."""

import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..._lazy import missing
from .tasks import Done, Result, Task, Waiting, WorkerDiedError, failed, handed_to

_WAIT = 10  # seconds for a scheduler to answer
_WINDOW = 1000  # tasks handed over at a time: enough for an adaptive cluster to grow


class SchedulerLostError(OSError):
    """The scheduler of a cluster can no longer be reached."""


class Cluster:
    """Carries tasks out on the workers of a Dask cluster.

    If a worker dies, another one carries its tasks out again; Dask's setting
    ``distributed.scheduler.allowed-failures`` says how often.

    Args:
        address: Address of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises:
        ModuleNotFoundError: If ``dask.distributed`` is not installed.
        OSError: If no scheduler answers within 10 seconds.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise missing("--scheduler", error.name, "cluster") from error
        try:
            self.client = Client(address, timeout=_WAIT, set_as_default=False)
        except (OSError, ValueError, TypeError) as cause:  # TypeError: no certificate for TLS
            raise SchedulerLostError(f"--scheduler {address}: no answer ({cause})") from cause
        self.address = address

    def __enter__(self) -> Self:
        """Close it at the end of a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster to others. It drops this client's unfinished tasks."""
        self.client.close(timeout=2)

    def at_once(self) -> int:
        """How many tasks the current workers carry out at the same time."""
        return sum(self.client.nthreads().values())

    @property
    def is_over(self) -> Callable[[], bool]:
        """See `Workers`."""
        return task_is_dropped

    def carry_out(
        self, do: Callable[[Task], Result], tasks: Iterable[Task], every: float | None = None
    ) -> Generator[Done[Task, Result] | Waiting[Task], None, None]:
        """See `Workers`.

        Raises:
            SchedulerLostError: If the scheduler goes away.
        """
        from distributed.client import ClosedClientError

        pool = self.client.get_executor(pure=False)
        suspects = []
        try:
            for done in handed_to(pool, do, tasks, _WINDOW, every, self.at_once):
                if isinstance(done, Done) and _deaths(done):
                    suspects.append(done.task)
                else:
                    yield done
            # Dask also blames tasks that wait for the same worker. If tasks go one by one, it
            # cannot.
            for done in handed_to(pool, do, suspects, 1, every, self.at_once):
                if isinstance(done, Done) and (deaths := _deaths(done)):
                    error = WorkerDiedError(
                        f"{deaths} workers of the cluster died of it, while it was their only task"
                    )
                    yield Done(done.task, failed(error))
                else:
                    yield done
        except (CancelledError, ClosedClientError):
            # The client logs at length that it cannot connect again.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
            raise SchedulerLostError(
                f"--scheduler {self.address}: the scheduler is gone. What was done is kept: start "
                "the cluster and the same command again"
            ) from None
        finally:
            with suppress(ClosedClientError):
                pool.shutdown(wait=False)


def _deaths(done: Done[Task, Result]) -> int:
    """How many workers had died when Dask gave a task up; 0 if it has not."""
    from distributed.scheduler import KilledWorker

    error = done.future.exception()
    return error.allowed_failures + 1 if isinstance(error, KilledWorker) else 0


def task_is_dropped() -> bool:
    """Whether nobody wants the asking Dask worker's task: it has no client, or no scheduler.

    A worker that has lost its scheduler closes, while its task goes on.
    """
    from distributed import Status, get_worker
    from distributed.worker import thread_state  # type: ignore[attr-defined]

    worker = get_worker()
    task = worker.state.tasks.get(thread_state.key)
    wanted = task is not None and task.state == "executing"
    return not wanted or worker.status not in (Status.running, Status.paused)
