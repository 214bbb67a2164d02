"""The command ``evaluate``."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..names import DatasetName
from ._diameter import check_diameter
from ._folder import check_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..fundus import Fundus
    from ..protocol import Split
    from ..weights import Trained

    Probability = NDArray[np.float32]

# Layouts that are data sets: of a folder nobody knows what is in it.
_DATA_SETS = ("drive", "chase_db1", "stare", "hrf")


@dataclass(frozen=True)
class Evaluate:
    """Score weights, or probability maps of another program, on the images of a data set.

    The report has scores of the network and of the second observer: on whole images and within the
    field of view; for all pixels pooled and per image; at the threshold 0.5 and, for the network,
    at the threshold with the best F1 on the validation images. Writes report.json, tables.md,
    tables.csv, curves.png (ROC and precision-recall) and a figure of each image to the folder
    --out.
    """

    data: Path
    """Folder of the data set, or the CSV file."""
    dataset: DatasetName = "drive"
    """Layout of the data set; folder: images/, labels/ and, if you have them, masks/."""
    weights: str | None = None
    """Name of shipped weights (drive, chase_db1), or a weights file written by train; by default
    drive."""
    predictions: Path | None = None
    """Folder of probability maps to score instead of weights: grey images of 8 or 16 bits, or .npy
    or 32-bit TIFF with values from 0 to 1, named as the images."""
    out: Path = Path("runs/evaluate")
    """Folder to write to."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    fov_diameter: float | None = None
    """Resize images until their field of view has this diameter in pixels; by default that of the
    training."""
    part: Literal["test", "all"] | None = None
    """test: the test images. all: every image with a vessel mask; then no threshold is chosen. The
    default is all for weights that were trained on another data set (those of drive on stare, say),
    else test."""
    fold: str | None = None
    """Score on a part of the training images, as train --fold left it out: 1/5, say."""
    pictures: bool = True
    """Save a figure of each image."""
    maps: Path | None = None
    """Folder to write the probability map of each image to (16-bit grey, 65535 is a probability of
    1). Those of all folds are what train --auxiliary takes."""

    def __call__(self) -> None:
        """Run the command."""
        import csv
        import math

        from ..data.predictions import save_prediction
        from ..evaluation.plots import save_score_curves
        from ..evaluation.report import (
            evaluate,
            evaluation_rows,
            evaluation_tables,
            save_report,
        )
        from ..evaluation.sheet import save_sheet
        from ..evaluation.threshold import best_threshold

        check_diameter(self.fov_diameter)
        if self.predictions and (self.weights or self.flips or self.fov_diameter):
            raise ValueError(
                "evaluate: pass either --predictions or --weights, --flips and --fov-diameter"
            )
        if self.fold and self.part == "all":
            raise ValueError("evaluate: pass either --fold or --part all")
        for option, folder in (("--out", self.out), ("--maps", self.maps)):
            if folder is not None:
                check_folder(option, folder)
        trained = None if self.predictions else self._weights()
        part, leak = self._part(trained)
        split = self._split(part)
        if leak:
            print(f"--part all: {leak}")
        validation, test = ([files.read() for files in some] for some in split[1:])
        if trained is None:
            header, watched, probabilities = self._predictions(split, validation, test)
        else:
            header, watched, probabilities = self._segmentations(trained, validation, test)
        labels = [fundus.label for fundus in validation if fundus.label is not None]
        threshold = best_threshold(watched, labels) if watched else None
        report = evaluate(test, probabilities, chosen_threshold=threshold)
        tables, rows = evaluation_tables(report), evaluation_rows(report)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "tables.md").write_text(tables + "\n", encoding="utf-8")
        with (self.out / "tables.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        seconds = [fundus.second_label for fundus in test if fundus.second_label is not None]
        if math.isnan(report["whole"]["pooled"]["AUC"]):
            print("No curves: all probabilities are 0 or 1.")
        else:
            save_score_curves(
                self.out / "curves.png",
                probabilities,
                [fundus.label for fundus in test if fundus.label is not None],
                seconds=seconds if len(seconds) == len(test) else None,
            )
        for fundus, probability in zip(test, probabilities, strict=True):
            # A name may contain folders.
            if self.pictures:
                path = self.out / f"{fundus.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_sheet(path, fundus, probability)
            if self.maps is not None:
                path = self.maps / f"{fundus.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_prediction(path, probability)
        header |= {
            "dataset": self.dataset,
            "part": part,
            "leak": leak,
            "fold": self.fold,
            "chosen_on": [fundus.name for fundus in validation] if watched else [],
        }
        # Last, so that a folder with a report is complete.
        save_report(self.out / "report.json", header | report)
        print(tables)
        print(f"Saved report, tables and figures in {self.out}")

    def _part(self, trained: "Trained | None") -> tuple[Literal["test", "all"], str | None]:
        """Which images are scored, and what to say if some of them may have been trained on."""
        trained_on = trained and trained.settings.about.get("dataset")
        if trained_on in _DATA_SETS and self.dataset in _DATA_SETS and trained_on != self.dataset:
            return self.part or ("test" if self.fold else "all"), None
        if self.part != "all":
            return "test", None
        if trained_on == self.dataset and self.dataset in _DATA_SETS:
            return (
                "all",
                f"the weights were trained on images of {trained_on}, which are scored too",
            )
        return "all", "images that were trained on may be scored too; the files do not say"

    def _split(self, part: Literal["test", "all"]) -> "Split":
        """The images that choose a threshold, and those that are scored, which have labels."""
        from ..protocol import Split
        from ._dataset import list_dataset, open_dataset

        if part == "all":
            files = list_dataset(self.dataset, self.data)
            labelled = [one for one in files if one.label is not None]
            if not labelled:
                raise ValueError(f"{self.data}: no image has a vessel mask")
            return Split([], [], labelled)
        _, split = open_dataset(self.dataset, self.data, self.fold)
        if bare := [files.name for files in split.test if files.label is None]:
            raise ValueError(
                f"{self.data}: every test image must have a vessel mask; missing: "
                f"{', '.join(bare)}. (Older archives of DRIVE contain them.) For probability maps "
                "without scores, use the command segment."
            )
        return split

    def _weights(self) -> "Trained":
        from ..weights import named_weights
        from ._device import to_accelerator

        return to_accelerator(named_weights(self.weights or "drive"))

    def _segmentations(
        self, trained: "Trained", validation: "list[Fundus]", test: "list[Fundus]"
    ) -> "tuple[dict[str, Any], list[Probability], list[Probability]]":
        """A header of the report, and the network's maps of validation and test images."""
        from tqdm import tqdm

        from ..predict import segment

        bar = tqdm([*validation, *test], unit="image")
        how: dict[str, Any] = {"flips": self.flips, "fov_diameter": self.fov_diameter}
        every = [segment(fundus.image, trained, fov=fundus.fov, **how) for fundus in bar]
        header = {"weights": asdict(trained.settings)} | how
        return header, every[: len(validation)], every[len(validation) :]

    def _predictions(
        self, split: "Split", validation: "list[Fundus]", test: "list[Fundus]"
    ) -> "tuple[dict[str, Any], list[Probability], list[Probability]]":
        """The same with maps from a folder, which need not hold those of the validation images."""
        from ..data.predictions import find_predictions, read_prediction

        folder = self.predictions or Path()
        found = find_predictions(folder, (files for part in split for files in part))
        probabilities = [read_prediction(folder, found, fundus) for fundus in test]
        watched = []
        if all(fundus.name in found for fundus in validation):
            watched = [read_prediction(folder, found, fundus) for fundus in validation]
        return {"predictions": folder.name}, watched, probabilities
