"""A grid of trainings and their evaluations, which can be stopped and continued.

A piece is one training and its evaluations. Its folder, ``dataset/model/options/seed-N`` in the
study's folder, holds its state. It is finished when all its reports exist.
"""

import json
import math
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from tqdm import tqdm

from .evaluation.report import as_numbers
from .evaluation.scores import mean_and_std
from .evaluation.tables import markdown_table
from .names import PAPER
from .training.checkpoint import is_finished, progress

# The evaluations of a piece: the folder of the report, and the arguments of `evaluate`. The paper
# scores the last epoch's weights; the best were chosen on the validation images.
EVALUATIONS = {
    "last": ("last.safetensors",),
    "last-flips": ("last.safetensors", "--flips"),
    "best": ("best.safetensors",),
    "best-flips": ("best.safetensors", "--flips"),
}
_POLL = 2.0  # seconds between updates of the progress bar
_COLUMNS = ("SEN", "SPE", "F1", "ACC", "AUC", "AP", "MCC")


class Piece(NamedTuple):
    """One training of a study.

    Attributes:
        dataset: Name of the data set, as in the command `train`.
        data: Folder of the data set.
        model: Name of the network.
        seed: Seed of the training.
        options: ``"paper"``, or more options of the command `train`: ``"augment,epochs=300"``.
    """

    dataset: str
    data: Path
    model: str
    seed: int
    options: str = PAPER

    def folder(self, study: Path) -> Path:
        """The folder of the piece in the folder of its study."""
        return study / self.dataset / self.model / self.options / f"seed-{self.seed}"

    def arguments(self) -> list[str]:
        """The options as arguments of the command `train`.

        Raises:
            ValueError: If the options do not have the form above.

        Example:
            >>> from pathlib import Path
            >>> from torchattn_blocks.retina.study import Piece
            >>> Piece("drive", Path(), "rsan", 0, "augment,epochs=300").arguments()
            ['--augment', '--epochs', '300']
        """
        if self.options == PAPER:
            return []
        if not re.fullmatch(r"[a-z-]+(=[^,=/]+)?(,[a-z-]+(=[^,=/]+)?)*", self.options):
            raise ValueError(
                f"study: options must be {PAPER} or like augment,epochs=300, got {self.options!r}"
            )
        pairs = [option.partition("=") for option in self.options.split(",")]
        return [word for name, _, value in pairs for word in (f"--{name}", *value.split())]


def run_study(
    pieces: Sequence[Piece], study: Path, *, jobs: int = 1, max_time: float | None = None
) -> list[str]:
    """Run those pieces that are not finished, each in processes of its own.

    Args:
        pieces: The pieces, in the order to run them.
        study: The folder of the study.
        jobs: How many pieces to run at the same time.
        max_time: Stop after this many seconds; a later call continues.

    Returns:
        A message for each piece that failed, with the path of its log.

    Raises:
        ValueError: If `jobs` is below 1, or the options of a piece have another form than
            `Piece` names.
    """
    if jobs < 1:
        raise ValueError(f"run_study: jobs must be at least 1, got {jobs}")
    end = math.inf if max_time is None else monotonic() + max_time
    for piece in pieces:
        piece.arguments()  # raises before hours of work, not after
    folders = [piece.folder(study) for piece in pieces]
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(_advance, piece, study, end, jobs) for piece in pieces]
        _watch(dict(zip(futures, folders, strict=True)), study)
    finally:
        pool.shutdown(cancel_futures=True)
    return [str(error) for future in futures if (error := future.exception())]


def study_tables(study: Path) -> str:
    """Format the pooled scores of all evaluations, at the threshold 0.5, as Markdown tables.

    There is a table for each data set, for whole images and for the field of view. A row is a
    network with its options and its evaluation: the mean over seeds and, if there are two or more,
    below it the sample standard deviation.
    """
    reports: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(study.glob("*/*/*/seed-*/*/report.json")):
        dataset, model, options, _, scored = path.relative_to(study).parts[:-1]
        report = json.loads(path.read_text(encoding="utf-8"))
        for view in ("whole", "fov"):
            reports[dataset, view][f"{model}, {options}, {scored}"].append(report[view])
    tables = []
    for (dataset, view), systems in reports.items():
        rows: dict[str, dict[str, float]] = {}
        for title, runs in systems.items():
            scores = [
                as_numbers(run["pooled"] | {"clDice": run["per_image"]["clDice"]["mean"]})
                for run in runs
            ]
            names = [*_COLUMNS, "clDice"]
            statistics = {name: mean_and_std([s[name] for s in scores]) for name in names}
            many = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            rows[title + many] = {name: statistics[name]["mean"] for name in names}
            if many:
                rows[f"± of {title}"] = {name: statistics[name]["std"] for name in names}
        where = {"whole": "whole image", "fov": "field of view"}[view]
        tables.append(f"### {dataset}, {where}\n\n{markdown_table(rows)}")
    return "\n\n".join(tables)


class _PieceError(Exception):
    """A process of a piece failed."""


def _advance(piece: Piece, study: Path, end: float, jobs: int) -> None:
    """Train a piece and score it, as far as time allows."""
    folder = piece.folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    data = ["--data", str(piece.data), "--dataset", piece.dataset]
    scores = {name: how for name, how in EVALUATIONS.items() if not _report(folder, name).is_file()}
    try:
        if scores and not is_finished(folder):
            options = ["--model", piece.model, "--seed", str(piece.seed), "--out", str(folder)]
            options += piece.arguments()
            if progress(folder)[1]:
                options.append("--resume")
            if end < math.inf:
                left = timedelta(seconds=max(0, int(end - monotonic())))
                options += ["--max-time", str(left)]
            _call(log, end, jobs, "train", *data, *options)
        if scores and is_finished(folder):
            for name, (weights, *how) in scores.items():
                options = ["--weights", str(folder / weights), *how, "--no-pictures"]
                options += ["--out", str(_report(folder, name).parent)]
                _call(log, end, jobs, "evaluate", *data, *options)
    except subprocess.TimeoutExpired:
        pass  # its checkpoint is complete, and the next call continues from it


def _report(folder: Path, name: str) -> Path:
    return folder / name / "report.json"


def _call(log: Path, end: float, jobs: int, *arguments: str) -> None:
    """Run a command of the library with its output in a log; stop it at the time `end`."""
    environment = {"OMP_WAIT_POLICY": "passive"}
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    with log.open("ab") as file:
        done = subprocess.run(
            [sys.executable, "-m", "torchattn_blocks.retina", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment | os.environ,
            timeout=max(0.0, end - monotonic()) if end < math.inf else None,
            check=False,
        )
    if done.returncode:
        raise _PieceError(f"{log}: {arguments[0]} ended with exit status {done.returncode}")


def _watch(pieces: Mapping[Future[None], Path], study: Path) -> None:
    """Show a progress bar until all pieces are done."""
    with tqdm(total=len(pieces), unit="piece") as bar:
        pending = set(pieces)
        while pending:
            done, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            bar.update(len(done))
            running = [pieces[future] for future in pieces if future.running()]
            steps = ("{} {}/{}".format(f.relative_to(study), *progress(f)) for f in running)
            bar.set_postfix_str(", ".join(steps))
