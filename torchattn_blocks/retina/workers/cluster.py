"""The workers of a Dask cluster."""

import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Self

from ..._lazy import missing
from .tasks import Done, Result, Task, Waiting, WorkerDiedError, failed, handed_to

_WAIT = 10  # seconds for a scheduler to answer
_WINDOW = 1000  # tasks handed over at a time: enough for an adaptive cluster to grow


class SchedulerLostError(OSError):
    """The scheduler of a cluster cannot be reached any more."""


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
        except (OSError, ValueError) as cause:
            raise SchedulerLostError(f"--scheduler {address}: no answer ({cause})") from cause
        self.address = address

    def __enter__(self) -> Self:
        """Be closed at the end of a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster to others. What it still does for this client, it drops."""
        self.client.close(timeout=2)

    def at_once(self) -> int:
        """How many tasks the workers of this moment carry out at the same time."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sum(worker["nthreads"] for worker in workers.values())

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
        pool = self.client.get_executor(pure=False)
        try:
            for done in handed_to(pool, do, tasks, _WINDOW, every, self.at_once):
                yield _with_death_told(done) if isinstance(done, Done) else done
        except CancelledError:
            # The client tells at length that it cannot connect again.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
            raise SchedulerLostError(
                f"--scheduler {self.address}: the scheduler is gone. What was done is kept: start "
                "the cluster and the same command again"
            ) from None
        finally:
            pool.shutdown(wait=False)


def _with_death_told(done: Done[Task, Result]) -> Done[Task, Result]:
    """A task with `WorkerDiedError` if that is its error."""
    from distributed.scheduler import KilledWorker

    error = done.future.exception()
    if not isinstance(error, KilledWorker):
        return done
    tries = error.allowed_failures + 1
    return Done(done.task, failed(WorkerDiedError(f"{tries} workers of the cluster died of it")))


def task_is_dropped() -> bool:
    """Whether the task of a Dask worker that asks is wanted by no client any more."""
    from distributed.worker import get_worker, thread_state  # type: ignore[attr-defined]

    task = get_worker().state.tasks.get(thread_state.key)
    return task is None or task.state != "executing"
