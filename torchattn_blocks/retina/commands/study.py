"""The command ``study``."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ._folder import check_folder


@dataclass(frozen=True)
class Study:
    """Train and score networks on a grid of data sets, recipes, options and seeds, from a file.

    Each run (one training and its evaluations) has its own folder in --out. After a stop, run the
    same command again: it skips finished runs, also runs copied from another machine, and resumes
    the others. At the end, tables.md, tables.csv and scores.png have the scores of all runs of the
    grid in --out.
    """

    grid: Annotated[Positional[str], arg(metavar="GRID")]
    """A TOML file, or a shipped grid: paper_tables, ablations, attention, cameras or
    cross_validation."""
    drive: Path | None = None
    """Folder of DRIVE."""
    chase_db1: Path | None = None
    """Folder of CHASE_DB1."""
    stare: Path | None = None
    """Folder of STARE."""
    hrf: Path | None = None
    """Folder of HRF."""
    folder: Path | None = None
    """Folder with images/, labels/ and perhaps masks/."""
    out: Path = Path("runs/study")
    """Folder of the study."""
    jobs: int = 1
    """How many runs at the same time; they share the GPU or the cores."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786. Its workers carry out the runs;
    they must see the data and --out under the same paths. Needs the extra [cluster]."""
    max_time: str | None = None
    """Stop within this time: 540 and 00:09:00 are nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        if self.scheduler is not None and self.jobs > 1:
            raise ValueError(f"--jobs is of this machine, not for --scheduler, got {self.jobs}")
        from ..studies.figure import save_study_figure
        from ..studies.grid import DATASETS, read_grid
        from ..studies.results import study_rows
        from ..studies.running import run_study
        from ..studies.tables import comma_separated, markdown
        from ..workers.cluster import Cluster
        from ..write import write_whole
        from ._time import seconds_left

        grid = read_grid(self.grid)
        roots: dict[str, Path | None] = {name: getattr(self, name) for name in DATASETS}
        data = {name: root for name, root in roots.items() if root is not None}
        if absent := [str(root) for root in data.values() if not root.is_dir()]:
            raise FileNotFoundError(f"{absent[0]}: this folder does not exist")
        unfinished = [run for run in grid.runs if not run.is_finished(self.out)]
        lacking = {run: [name for name in run.needed if name not in data] for run in unfinished}
        without = Counter(name for names in lacking.values() for name in names)
        for name, many in without.items():
            option = name.replace("_", "-")
            print(f"{many} run{'s' if many > 1 else ''} on {name} left out: pass --{option}")
        with ExitStack() as stack:
            workers = None
            if self.scheduler is not None:
                # Use absolute paths, because workers have another current folder.
                data = {name: root.absolute() for name, root in data.items()}
                workers = stack.enter_context(Cluster(self.scheduler))
                print(f"{self.scheduler}: {workers.at_once()} runs at the same time")
            failures = run_study(
                [run for run in unfinished if not lacking[run]],
                data,
                self.out.absolute() if workers else self.out,
                jobs=self.jobs,
                workers=workers,
                max_time=seconds_left(self.max_time),
            )
        rows = study_rows(grid.runs, self.out)
        if any(row.each for row in rows if row.kind == "scores"):
            tables = markdown(grid, rows)
            write_whole(self.out / "tables.md", tables.encode())
            write_whole(self.out / "tables.csv", comma_separated(rows).encode())
            save_study_figure(self.out / "scores.png", grid.title, rows)
            print(tables)
        else:
            print("No run has scores yet.")
        if failures:
            raise ValueError("these runs failed:\n" + "\n".join(failures))
