"""A grid of trainings and their scores, in pieces that can be cut off and gone on with.

A piece is one training and its evaluations. Its folder, ``dataset/model/options/seed-N`` below the
study's, is its identity and its state: it is finished when its reports are there.
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
from .evaluation.scores import spread
from .evaluation.tables import markdown_table
from .names import PAPER
from .training.checkpoint import progress

# How the weights of a piece are scored: the folder of the report, and the arguments of `evaluate`.
# The last epoch's are the paper's choice; the best were chosen on the validation images.
EVALUATIONS = {
    "last": ("last.safetensors",),
    "last-flips": ("last.safetensors", "--flips"),
    "best": ("best.safetensors",),
    "best-flips": ("best.safetensors", "--flips"),
}
_POLL = 2.0  # seconds between two looks at how far the pieces are
_COLUMNS = ("SEN", "SPE", "F1", "ACC", "AUC", "AP", "MCC")


class Piece(NamedTuple):
    """One training of a study.

    Attributes:
        dataset: Name of the data set, as the command `train` takes it.
        data: Its folder.
        model: Name of the network.
        seed: The training's seed.
        options: ``"paper"``, or further options of `train`, as ``"augment,epochs=300"``.
    """

    dataset: str
    data: Path
    model: str
    seed: int
    options: str = PAPER

    def folder(self, study: Path) -> Path:
        """Where the piece lives, below the folder of its study."""
        return study / self.dataset / self.model / self.options / f"seed-{self.seed}"

    def arguments(self) -> list[str]:
        """The options as `train` takes them.

        Raises:
            ValueError: If they are written otherwise.

        Example:
            >>> Piece("drive", Path(), "rsan", 0, "augment,epochs=300").arguments()
            ['--augment', '--epochs', '300']
        """
        if self.options == PAPER:
            return []
        if not re.fullmatch(r"[a-z-]+(=[^,=/]+)?(,[a-z-]+(=[^,=/]+)?)*", self.options):
            raise ValueError(
                f"study: options must be {PAPER}, or such as augment,epochs=300; "
                f"got {self.options!r}"
            )
        pairs = [option.partition("=") for option in self.options.split(",")]
        return [word for name, _, value in pairs for word in (f"--{name}", *value.split())]


def run_study(
    pieces: Sequence[Piece], study: Path, *, jobs: int = 1, max_time: float | None = None
) -> list[str]:
    """Do what is not finished of the pieces, each as programs of its own, `jobs` at a time.

    Args:
        pieces: What to do, in this order.
        study: The folder of the study.
        jobs: How many pieces to do side by side.
        max_time: Seconds after which to stop; a later call goes on.

    Returns:
        What failed: a line for each piece that did, naming its log.

    Raises:
        ValueError: If `jobs` is below 1, or the options of a piece cannot be read.
    """
    if jobs < 1:
        raise ValueError(f"run_study: jobs must be at least 1, got {jobs}")
    end = math.inf if max_time is None else monotonic() + max_time
    for piece in pieces:
        piece.arguments()  # what cannot be read is said before hours of work
    folders = [piece.folder(study) for piece in pieces]
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(_advance, piece, study, end, jobs) for piece in pieces]
        _watch(dict(zip(futures, folders, strict=True)), study)
    finally:
        pool.shutdown(cancel_futures=True)
    return [str(error) for future in futures if (error := future.exception())]


def study_tables(study: Path) -> str:
    """Lay out the pooled scores, at the threshold .5, of all pieces that were scored, as Markdown.

    A table for each data set and each view, a row for each network, set of options and way to
    score: the mean over seeds and, of two or more, the sample standard deviation below it.
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
            spreads = {name: spread([s[name] for s in scores]) for name in names}
            many = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            rows[title + many] = {name: spreads[name]["mean"] for name in names}
            if many:
                rows[f"± of {title}"] = {name: spreads[name]["std"] for name in names}
        where = {"whole": "whole image", "fov": "field of view"}[view]
        tables.append(f"### {dataset}, {where}\n\n{markdown_table(rows)}")
    return "\n\n".join(tables)


class _PieceError(Exception):
    """A program of a piece failed."""


def _advance(piece: Piece, study: Path, end: float, jobs: int) -> None:
    """Train a piece to its end and score it, or as far as time allows."""
    folder = piece.folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    data = ["--data", str(piece.data), "--dataset", piece.dataset]
    scores = {name: how for name, how in EVALUATIONS.items() if not _report(folder, name).is_file()}
    try:
        if scores and not _is_trained(folder):
            options = ["--model", piece.model, "--seed", str(piece.seed), "--out", str(folder)]
            options += ["--resume", *piece.arguments()]
            if end < math.inf:
                left = timedelta(seconds=max(0, int(end - monotonic())))
                options += ["--max-time", str(left)]
            _call(log, end, jobs, "train", *data, *options)
        if scores and _is_trained(folder):
            for name, (weights, *how) in scores.items():
                options = ["--weights", str(folder / weights), *how, "--no-pictures"]
                options += ["--out", str(_report(folder, name).parent)]
                _call(log, end, jobs, "evaluate", *data, *options)
    except subprocess.TimeoutExpired:
        pass  # what it has written is whole, and goes on next time


def _report(folder: Path, name: str) -> Path:
    return folder / name / "report.json"


def _is_trained(folder: Path) -> bool:
    done, total = progress(folder)
    return 0 < done == total


def _call(log: Path, end: float, jobs: int, *arguments: str) -> None:
    """Run a command of the library, its output added to a log, and stop it at the end of time."""
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
    """Show how far the pieces are, until all are done."""
    with tqdm(total=len(pieces), unit="piece") as bar:
        pending = set(pieces)
        while pending:
            done, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            bar.update(len(done))
            running = [pieces[future] for future in pieces if future.running()]
            epochs = ("{} {}/{}".format(f.relative_to(study), *progress(f)) for f in running)
            bar.set_postfix_str(", ".join(epochs))
