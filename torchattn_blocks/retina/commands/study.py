"""The command ``study``."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..names import PAPER, ModelName


@dataclass(frozen=True)
class Study:
    """Train and score networks on a grid of data sets, options and seeds.

    Each run (one training and its evaluations) has its own folder in --out. After a stop, the same
    command, or one for a larger grid, continues: it skips finished runs and resumes the others from
    their last epoch. At the end tables.md has the scores of all runs in --out.
    """

    drive: Path | None = None
    """Folder of DRIVE; adds it to the grid."""
    chase_db1: Path | None = None
    """Folder of CHASE_DB1; adds it to the grid."""
    folder: Path | None = None
    """Folder with images/, labels/ and perhaps masks/; adds it to the grid."""
    models: tuple[ModelName, ...] = ("backbone", "backbone_dropblock", "rsan", "unet")
    """The networks."""
    seeds: tuple[int, ...] = (0,)
    """The seeds."""
    options: tuple[str, ...] = (PAPER,)
    """Sets of options of the command train, separated by spaces; commas join the options of a set.
    Example: paper augment augment,epochs=300. The set paper has no options."""
    out: Path = Path("runs/study")
    """Folder of the study."""
    jobs: int = 1
    """How many runs at the same time; they share the GPU or the cores."""
    max_time: str | None = None
    """Stop after this time: 00:09:00 is nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        from ..study import Piece, run_study, study_tables
        from ._time import seconds_left

        roots = {"drive": self.drive, "chase_db1": self.chase_db1, "folder": self.folder}
        given = {name: root for name, root in roots.items() if root is not None}
        if not given:
            raise ValueError("study: pass at least one data set: --drive, --chase-db1 or --folder")
        if absent := [str(root) for root in given.values() if not root.is_dir()]:
            raise FileNotFoundError(f"{absent[0]}: this folder does not exist")
        # By seed first, so that an unfinished study has some of everything.
        grid = product(self.seeds, given.items(), self.models, self.options)
        pieces = [Piece(name, root, model, seed, o) for seed, (name, root), model, o in grid]
        failures = run_study(pieces, self.out, jobs=self.jobs, max_time=seconds_left(self.max_time))
        if tables := study_tables(self.out):
            (self.out / "tables.md").write_text(tables + "\n")
            print(tables)
        if failures:
            raise ValueError("these runs failed:\n" + "\n".join(failures))
