"""Running the pieces of a study."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic

from tqdm import tqdm

from ..training.checkpoint import is_finished, progress
from .piece import EVALUATIONS, Piece

_REFRESH = 2.0  # seconds between updates of the progress bar
_POLL = 0.1  # seconds between two looks at a process


def run_study(
    pieces: Sequence[Piece],
    data: Mapping[str, Path],
    out: Path,
    *,
    jobs: int = 1,
    max_time: float | None = None,
) -> list[str]:
    """Run pieces, each in processes of its own: what of them is not done yet.

    Args:
        pieces: The pieces. They are run by seed and fold, so that an unfinished study has some of
            everything.
        data: The folder of each data set.
        out: The folder of the study.
        jobs: How many pieces to run at the same time.
        max_time: Stop after this many seconds; a later call continues.

    Returns:
        A message for each piece that failed, with the path of its log.

    Raises:
        ValueError: If `jobs` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"run_study: jobs must be at least 1, got {jobs}")
    if not pieces:
        return []
    run = _Run(data, out, jobs, math.inf if max_time is None else monotonic() + max_time)
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {
            pool.submit(run.advance, piece): piece.folder(out)
            for piece in sorted(pieces, key=lambda piece: (piece.seed, piece.fold or ""))
        }
        run.watch(futures)
    finally:
        run.over.set()
        pool.shutdown()
    errors = (future.exception() for future in futures)
    return [str(error) for error in errors if error and not isinstance(error, _OverError)]


class _PieceError(Exception):
    """A process of a piece failed."""


class _OverError(Exception):
    """A process was stopped with the study."""


@dataclass
class _Run:
    """One call of `run_study`."""

    data: Mapping[str, Path]
    out: Path
    jobs: int
    end: float
    over: Event = field(default_factory=Event)  # set at the end of the time, and by Ctrl-C

    def advance(self, piece: Piece) -> None:
        """Train a piece and score it, as far as time allows."""
        folder = piece.folder(self.out)
        data = ["--data", str(self.data[piece.dataset]), "--dataset", piece.dataset]
        if not is_finished(folder):
            options = [*piece.training(), "--out", str(folder)]
            if progress(folder)[1]:
                options.append("--resume")
            if self.end < math.inf:
                options += ["--max-time", str(max(0, int(self.end - monotonic())))]
            self._call(folder, "train", *data, *options)
        if not is_finished(folder):
            return  # time is over
        fold = ["--fold", piece.fold] if piece.fold else []
        for evaluation, (weights, *how) in EVALUATIONS.items():
            report = piece.report(self.out, evaluation)
            if not report.is_file():
                options = ["--weights", str(folder / weights), *how, *fold, "--no-pictures"]
                self._call(folder, "evaluate", *data, *options, "--out", str(report.parent))

    def _call(self, folder: Path, *arguments: str) -> None:
        """Run a command of the library, its output in a log, until the study is over."""
        if self.over.is_set():
            raise _OverError
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        environment = {"OMP_WAIT_POLICY": "passive"}
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
                if self.over.wait(_POLL):
                    raise _OverError
        finally:
            process.kill()  # its last checkpoint is complete, and a later call continues from it
            process.wait()
        if process.returncode:
            raise _PieceError(f"{log}: {arguments[0]} ended with exit status {process.returncode}")

    def watch(self, pieces: Mapping[Future[None], Path]) -> None:
        """Show a progress bar until all pieces are done or time is over."""
        with tqdm(total=len(pieces), unit="piece") as bar:
            pending = set(pieces)
            while pending and (left := self.end - monotonic()) > 0:
                timeout = min(_REFRESH, left)
                done, pending = wait(pending, timeout=timeout, return_when=FIRST_COMPLETED)
                bar.update(len(done))
                running = [folder for future, folder in pieces.items() if future.running()]
                steps = ("{} {}/{}".format(f.relative_to(self.out), *progress(f)) for f in running)
                bar.set_postfix_str(", ".join(steps))
