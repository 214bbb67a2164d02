"""The command ``evaluate``."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ..names import DatasetName


@dataclass(frozen=True)
class Evaluate:
    """Score weights on the test images of a data set.

    The report has scores of the network and of the second observer: on whole images and within the
    field of view; for all pixels pooled and per image; at the threshold 0.5 and, for the network,
    at the threshold with the best F1 on the validation images. Writes report.json, tables.md,
    curves.png (ROC and precision-recall) and a figure of each image to the folder --out.
    """

    data: Path
    """Folder of the data set."""
    dataset: DatasetName = "drive"
    """Layout of the data set; folder: images/, labels/ and, if you have them, masks/."""
    weights: str = "drive"
    """Name of shipped weights (drive, chase_db1), or a weights file written by train."""
    out: Path = Path("runs/evaluate")
    """Folder to write to."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    pictures: bool = True
    """Save a figure of each image."""

    def __call__(self) -> None:
        """Run the command."""
        from tqdm import tqdm

        from ..evaluation.plots import save_score_curves
        from ..evaluation.report import evaluate, evaluation_tables, save_report
        from ..evaluation.sheet import save_sheet
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
                f"{self.data}: every test image must have a vessel mask; missing: "
                f"{', '.join(bare)}. (Older archives of DRIVE contain them.) For probability maps "
                "without scores, use the command segment."
            )
        validation, test = ([files.read() for files in part] for part in split[1:])
        bar = tqdm([*validation, *test], unit="image")
        every = [segment(fundus.image, trained, fov=fundus.fov, flips=self.flips) for fundus in bar]
        watched, probabilities = every[: len(validation)], every[len(validation) :]
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
            path.parent.mkdir(parents=True, exist_ok=True)  # a name may contain folders
            save_sheet(path, fundus, probability)
        header = {
            "dataset": self.dataset,
            "weights": asdict(trained.settings),
            "flips": self.flips,
            "chosen_on": [fundus.name for fundus in validation],
        }
        save_report(
            self.out / "report.json", header | report
        )  # last: its existence means that all is done
        print(tables)
        print(f"Saved report, tables and figures in {self.out}")
