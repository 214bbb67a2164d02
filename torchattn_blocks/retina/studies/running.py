"""Carrying out the runs of a study."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..._check import check_ints
from ..training.checkpoint import is_finished, progress
from ..workers.parent import PARENT
from ..workers.tasks import Waiting, Workers
from ..workers.threads import Threads
from .run import EVALUATIONS, Run

_REFRESH = 2.0  # seconds between updates of the progress bar
_POLL = 0.1  # seconds between two looks at a process


def run_study(
    runs: Sequence[Run],
    data: Mapping[str, Path],
    out: Path,
    *,
    jobs: int = 1,
    workers: Workers | None = None,
    max_time: float | None = None,
) -> list[str]:
    """Carry out the unfinished parts of runs, each in its own processes.

    Args:
        runs: The runs. They are ordered by seed and fold, so that an unfinished study has some of
            everything.
        data: The folder of each data set.
        out: The folder of the study.
        jobs: How many runs at the same time on this machine; they share its cores.
        workers: The workers that carry the runs out; by default threads of this process. They must
            see `data` and `out` under the same paths.
        max_time: Stop after this many seconds; a later call continues.

    Returns:
        A message for each run that failed, with the path of its log.

    Raises:
        TypeError: If `jobs` is not an int.
        ValueError: If `jobs` is below 1.
    """
    check_ints("run_study", 1, jobs=jobs)
    if not runs:
        return []
    workers = Threads(jobs) if workers is None else workers
    end = math.inf if max_time is None else time.time() + max_time
    study = _Study(data, out, jobs, end, workers.is_over)
    ordered = sorted(runs, key=lambda run: (run.seed, run.fold or ""))
    errors = study.watch(ordered, workers)
    return [
        str(errors[run])
        for run in ordered
        if run in errors and not isinstance(errors[run], _OverError)
    ]


class _RunError(Exception):
    """A process of a run failed."""


class _OverError(Exception):
    """A process was stopped with the study."""


@dataclass
class _Study:
    """One call of `run_study`."""

    data: Mapping[str, Path]
    out: Path
    jobs: int
    end: float  # by the clock, which other machines share
    is_over: Callable[[], bool]

    def advance(self, run: Run) -> None:
        """Carry a run on, as far as time allows: train, then score."""
        folder = run.folder(self.out)
        trained_on = run.trained_on or (run.dataset,)
        if not is_finished(folder):
            options = [*run.training(), "--out", str(folder)]
            if progress(folder)[1]:
                options.append("--resume")
            if self.end < math.inf:
                options += ["--max-time", str(max(0, int(self.end - time.time())))]
            self._call(folder, "train", *self._place(*trained_on), *options)
        if not is_finished(folder):
            return  # time is over
        part = ["--fold", run.fold] if run.fold else []
        part = ["--part", "all"] if run.trained_on else part
        for evaluation, (weights, *how) in EVALUATIONS.items():
            report = run.report(self.out, evaluation)
            if not report.is_file():
                options = ["--weights", str(folder / weights), *how, *part, "--no-pictures"]
                place = self._place(run.dataset)
                self._call(folder, "evaluate", *place, *options, "--out", str(report.parent))

    def _place(self, *datasets: str) -> list[str]:
        """The options that name data sets."""
        return ["--data", *(str(self.data[name]) for name in datasets), "--dataset", *datasets]

    def _call(self, folder: Path, *arguments: str) -> None:
        """Run a command of the library, its output in a log, until the study is over."""
        if self.is_over():
            raise _OverError
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        environment = {"OMP_WAIT_POLICY": "passive", PARENT: str(os.getpid())}
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "torchattn_blocks.retina", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment | os.environ,
            )
        try:
            while process.poll() is None:
                if self.is_over():
                    raise _OverError
                time.sleep(_POLL)
        finally:
            process.kill()  # its last checkpoint is complete, and a later call continues from it
            process.wait()
        if process.returncode:
            raise _RunError(f"{log}: {arguments[0]} ended with exit status {process.returncode}")

    def watch(self, runs: Sequence[Run], workers: Workers) -> dict[Run, BaseException]:
        """Show a progress bar until all runs are done or time is over.

        Returns:
            The errors of runs.
        """
        errors = {}
        results = workers.carry_out(self.advance, runs, every=_REFRESH)
        with tqdm(total=len(runs), unit="run") as bar, closing(results):
            for over in results:
                if isinstance(over, Waiting):
                    bar.set_postfix_str(", ".join(map(self._step, over.running)))
                else:
                    bar.update()
                    if error := over.future.exception():
                        errors[over.task] = error
                if time.time() >= self.end:
                    break
        return errors

    def _step(self, run: Run) -> str:
        folder = run.folder(self.out)
        return "{} {}/{}".format(folder.relative_to(self.out), *progress(folder))
