"""The command that runs a grid of trainings."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..names import PAPER, ModelName


@dataclass(frozen=True)
class Study:
    """Train and score a grid of data sets, networks, options and seeds.

    Each training and its evaluations are a piece with a folder of its own below --out. What is
    finished is not done again, and what a stop has cut goes on from its last epoch: the same
    command, or one for a larger grid, continues. In the end, tables.md has the scores of all pieces
    that lie below --out.
    """

    drive: Path | None = None
    """Folder of DRIVE, to have it in the grid."""
    chase_db1: Path | None = None
    """Folder of CHASE_DB1, to have it in the grid."""
    folder: Path | None = None
    """Any tree of images/ and labels/, with or without masks/, to have it in the grid."""
    models: tuple[ModelName, ...] = ("backbone", "backbone_dropblock", "rsan", "unet")
    """The networks."""
    seeds: tuple[int, ...] = (0,)
    """The seeds."""
    options: tuple[str, ...] = (PAPER,)
    """Sets of options of train, as: paper augment augment,epochs=300; paper sets none."""
    out: Path = Path("runs/study")
    """Folder of the study."""
    jobs: int = 1
    """How many pieces to do side by side, on one GPU or on parts of the cores."""
    max_time: str | None = None
    """Stop after this time, as 00:09:00 for nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        from ..study import Piece, run_study, study_tables
        from ._time import seconds_left

        roots = {"drive": self.drive, "chase_db1": self.chase_db1, "folder": self.folder}
        given = {name: root for name, root in roots.items() if root is not None}
        if not given:
            raise ValueError("study: give the folder of a data set: --drive, --chase-db1, --folder")
        if absent := [str(root) for root in given.values() if not root.is_dir()]:
            raise FileNotFoundError(f"{absent[0]}: there is no such folder")
        # By seed first, so that a study cut short has a bit of everything.
        grid = product(self.seeds, given.items(), self.models, self.options)
        pieces = [Piece(name, root, model, seed, o) for seed, (name, root), model, o in grid]
        failures = run_study(pieces, self.out, jobs=self.jobs, max_time=seconds_left(self.max_time))
        if tables := study_tables(self.out):
            (self.out / "tables.md").write_text(tables + "\n")
            print(tables)
        if failures:
            raise ValueError("these pieces failed:\n" + "\n".join(failures))
