"""The command that scores."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ..names import DatasetName


@dataclass(frozen=True)
class Evaluate:
    """Score weights on a data set's test images.

    Whole images and within the field of view; all pixels pooled, and image by image;
    at the threshold .5, and at the one that is best on the validation images; beside the
    second observer where there is one. The folder given as --out receives report.json, tables.md,
    curves.png (ROC and precision-recall) and a picture of each image.
    """

    data: Path
    """Folder of the data set."""
    dataset: DatasetName = "drive"
    """Its layout: DRIVE's, CHASE_DB1's, or any tree of images/ and labels/, with or without masks/.
    """
    weights: str = "drive"
    """Weights that come with the library, by name, or a file that train wrote."""
    out: Path = Path("runs/evaluate")
    """Folder to write to."""
    flips: bool = False
    """Average over each image and its three mirror images: four times the work."""
    pictures: bool = True
    """Write a picture of each image."""

    def __call__(self) -> None:
        """Run the command."""
        from tqdm import tqdm

        from ..evaluation.plots import save_score_curves, save_sheet
        from ..evaluation.report import evaluate, evaluation_tables, save_report
        from ..evaluation.threshold import best_threshold
        from ..predict import segment
        from ..weights import named_weights
        from ._dataset import open_dataset
        from ._device import to_accelerator

        trained = to_accelerator(named_weights(self.weights))
        _, split = open_dataset(self.dataset, self.data)
        bare = [files.name for files in split.test if files.label is None]
        if bare:
            raise ValueError(
                f"{self.data}: no scores without vessel masks of the first observer, which this "
                f"copy lacks for its test images {', '.join(bare)}. Put them where the data "
                "set's older archives have them, or see the maps that `segment` draws."
            )
        validation, test = ([files.read() for files in part] for part in split[1:])
        bar = tqdm([*validation, *test], unit="image")
        maps = [segment(fundus.image, trained, fov=fundus.fov, flips=self.flips) for fundus in bar]
        watched, probabilities = maps[: len(validation)], maps[len(validation) :]
        labels = [fundus.label for fundus in validation if fundus.label is not None]
        report = evaluate(test, probabilities, chosen_threshold=best_threshold(watched, labels))
        self.out.mkdir(parents=True, exist_ok=True)
        tables = evaluation_tables(report)
        (self.out / "tables.md").write_text(tables + "\n")
        seconds = [fundus.second_label for fundus in test if fundus.second_label is not None]
        save_score_curves(
            self.out / "curves.png",
            probabilities,
            [fundus.label for fundus in test if fundus.label is not None],
            seconds=seconds if len(seconds) == len(test) else None,
        )
        for fundus, probability in zip(test, probabilities, strict=True) if self.pictures else ():
            path = self.out / f"{fundus.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)  # a folder's names may hold folders
            save_sheet(path, fundus, probability)
        header = {
            "dataset": self.dataset,
            "weights": asdict(trained.settings),
            "flips": self.flips,
            "chosen_on": [fundus.name for fundus in validation],
        }
        save_report(self.out / "report.json", header | report)  # the last: then all is there
        print(tables)
        print(f"Report, tables and pictures are in {self.out}")
