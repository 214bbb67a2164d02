"""The command ``evaluate``."""

from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..names import DatasetName
from ._diameter import Diameter, check_diameter, resolved
from ._folder import check_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm

    from ..data.files import FundusFiles
    from ..evaluation.scoring import Scoring
    from ..fundus import Fundus
    from ..protocol import Split
    from ..weights import Trained

# Layouts that name a data set; a folder may hold any images.
_DATA_SETS = ("drive", "chase_db1", "stare", "hrf")


class _Maps(NamedTuple):
    """Where the probability maps come from.

    Attributes:
        of: Gives the map of an image.
        about: The report's entries on them.
        names: The images that have one; None: all.
    """

    of: "Callable[[Fundus], NDArray[np.float32]]"
    about: dict[str, Any]
    names: "Container[str] | None" = None

    def known(self, files: "list[FundusFiles]") -> "list[FundusFiles]":
        """Those of the images that have a map."""
        return [one for one in files if self.names is None or one.name in self.names]


@dataclass(frozen=True)
class Evaluate:
    """Score weights, or probability maps of another program, on the images of a data set.

    The report has scores of the network and of the second observer: on whole images and within the
    field of view; for all pixels pooled and per image; at the threshold 0.5 and, for the network,
    at the threshold with the best F1 on the validation and up to ten training images. Writes
    report.json, tables.md, tables.csv, curves.png (ROC and precision-recall) and a figure of each
    image to the folder --out.
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
    or 32-bit TIFF with values from 0 to 1. Give each map the name of its image."""
    out: Path = Path("runs/evaluate")
    """Folder to write to."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    fov_diameter: Diameter | None = None
    """Resize images until their field of view has this diameter in pixels; by default the diameter
    used in training. auto: as in segment."""
    part: Literal["test", "all"] | None = None
    """test: the test images. all: every image with a vessel mask; then no threshold is chosen. The
    default is all for weights that were trained on another data set (for example drive, scored on
    stare), otherwise test."""
    fold: str | None = None
    """Score on the part of the training images that train --fold left out, for example 1/5."""
    pictures: bool = True
    """Save a figure of each image."""
    maps: Path | None = None
    """Folder to write the probability map of each image to (16-bit grey, 65535 is a probability of
    1). Collect the maps of all folds in one folder for train --auxiliary."""

    def __call__(self) -> None:
        """Run the command."""
        from ..evaluation.scoring import Scoring
        from ..evaluation.threshold import choosing
        from ._bar import image_bar

        self._check()
        trained = None if self.predictions else self._weights()
        part, leak = self._part(trained)
        split = self._split(part)
        if leak:
            print(f"--part all: {leak}")
        if shift := _shift_leak(trained, self.dataset, split.test):
            print(shift)
            leak = f"{leak}; {shift}" if leak else shift
        maps = self._predictions(split) if trained is None else self._segmentations(trained)
        watched = [choosing(maps.known(split.training)), maps.known(split.validation)]
        with image_bar(len([*chain(*watched), *split.test])) as bar:
            thresholds, chosen_on = self._thresholds(watched, maps, bar)
            scoring = Scoring(next(iter(thresholds.values()), None))
            for files in split.test:
                self._score(files, maps, scoring)
                bar.update()
        about = {
            **maps.about,
            "dataset": self.dataset,
            "part": part,
            "leak": leak,
            "fold": self.fold,
            "chosen_on": chosen_on,
            "thresholds": thresholds,
        }
        self._write(scoring, about)

    def _check(self) -> None:
        """Check the options that do not depend on the data."""
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

    def _thresholds(
        self, watched: "list[list[FundusFiles]]", maps: _Maps, bar: "tqdm[Any]"
    ) -> tuple[dict[str, float], list[str]]:
        """The thresholds that training and validation images choose, and the images.

        The best way comes first. A part without vessels chooses nothing.
        """
        import numpy as np

        from ..evaluation.threshold import Sweep, have_vessels, thresholds_by_way

        def sweep(files: "FundusFiles") -> Sweep:
            fundus = files.read()
            bar.update()
            return Sweep.inside(maps.of(fundus), np.asarray(fundus.label), fundus.fov)

        if bare := [str(files.image) for files in chain(*watched) if files.label is None]:
            raise ValueError(
                f"{', '.join(bare)}: images that choose a threshold must have a vessel mask"
            )
        sweeps = [[sweep(files) for files in part] for part in watched]
        thresholds = thresholds_by_way(*sweeps)
        if any(watched) and not thresholds:
            names = ", ".join(files.name for files in chain(*watched))
            raise ValueError(f"{self.data}: no image of {names} has a vessel in its mask")
        useful = (part for part, each in zip(watched, sweeps, strict=True) if have_vessels(each))
        return thresholds, sorted(files.name for files in chain(*useful))

    def _score(self, files: "FundusFiles", maps: _Maps, scoring: "Scoring") -> None:
        """Score a test image, and draw its figure if asked to. Keep nothing of it in memory."""
        from ..data.predictions import save_prediction

        fundus = files.read()
        probability = maps.of(fundus)
        scores = scoring.add(fundus, probability)
        if self.pictures:
            from ..evaluation.sheet import draw_sheet

            self._begin()
            draw_sheet(_file(self.out, fundus.name), fundus, probability, scores)
        if self.maps is not None:
            save_prediction(_file(self.maps, fundus.name), probability)

    def _begin(self) -> None:
        """Remove the report of an earlier run before anything is written."""
        (self.out / "report.json").unlink(missing_ok=True)

    def _write(self, scoring: "Scoring", about: dict[str, Any]) -> None:
        """Write tables, curves and, at the very end, the report."""
        from ..evaluation.plots import draw_score_curves
        from ..evaluation.tables import markdown_table
        from ..write import csv_text, write_whole

        evaluation = scoring.evaluation(about)
        tables, rows = evaluation.tables(), evaluation.rows()
        if thresholds := about["thresholds"]:
            ways = {way: {"threshold": chosen} for way, chosen in thresholds.items()}
            tables += f"\n\n### Thresholds that other images choose\n\n{markdown_table(ways)}"
        self.out.mkdir(parents=True, exist_ok=True)
        self._begin()
        write_whole(self.out / "tables.md", f"{tables}\n".encode())
        text = csv_text([*rows[0]], (row.values() for row in rows))
        write_whole(self.out / "tables.csv", text.encode())
        if scoring.counts().has_curve:
            draw_score_curves(self.out / "curves.png", scoring.counts(), scoring.second_observer())
        else:
            (self.out / "curves.png").unlink(missing_ok=True)  # of an earlier run
            print("No curves: they need vessel, background and a probability between 0 and 1.")
        evaluation.save(self.out / "report.json")
        print(tables)
        print(f"Saved report, tables and figures in {self.out}")

    def _part(self, trained: "Trained | None") -> tuple[Literal["test", "all"], str | None]:
        """Which images are scored, and what to say if some of them may have been trained on."""
        from ..weights import trained_on

        seen = [] if trained is None else trained_on(trained.settings)
        is_known = bool(seen) and {*seen, self.dataset} <= {*_DATA_SETS}
        if is_known and self.dataset not in seen:
            return self.part or ("test" if self.fold else "all"), None
        if self.part != "all":
            return "test", None
        if self.dataset in seen and self.dataset in _DATA_SETS:
            return (
                "all",
                f"the weights were trained on images of {self.dataset}, which are scored too",
            )
        return "all", "images that were trained on may be scored too; the files do not say"

    def _split(self, part: Literal["test", "all"]) -> "Split":
        """The images to choose a threshold on, and the labelled images to score."""
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
        from ..device import to_accelerator
        from ..weights import named_weights

        return to_accelerator(named_weights(self.weights or "drive"))

    def _segmentations(self, trained: "Trained") -> _Maps:
        """The maps that a network computes."""
        from ..predict import segment

        about: dict[str, Any] = {"flips": self.flips, "fov_diameter": self.fov_diameter}
        if self.fov_diameter == "auto":
            about["fov_diameters"] = {}

        def of(fundus: "Fundus") -> "NDArray[np.float32]":
            how: dict[str, Any] = {"flips": self.flips, "fov": fundus.fov}
            diameter = resolved(self.fov_diameter, fundus, trained)
            if self.fov_diameter == "auto":
                about["fov_diameters"][fundus.name] = diameter
            return segment(fundus.image, trained, fov_diameter=diameter, **how)

        return _Maps(of, {"weights": asdict(trained.settings), **about})

    def _predictions(self, split: "Split") -> _Maps:
        """The maps in a folder. Maps of training and validation images may be missing."""
        from ..data.predictions import find_predictions, prediction_of, read_prediction

        folder = self.predictions or Path()
        found = find_predictions(folder, (files for part in split for files in part))
        for files in split.test:
            prediction_of(files.name, folder, found)  # raises an error if there is none
        return _Maps(
            lambda fundus: read_prediction(folder, found, fundus),
            {"predictions": folder.name},
            found,
        )


def _shift_leak(trained: "Trained | None", dataset: str, scored: "list[FundusFiles]") -> str | None:
    """What to say if scored images chose the shift of the output bias, see `calibrate`."""
    on = {} if trained is None else trained.settings.about.get("calibrated_on") or {}
    names = sorted({files.name for files in scored} & {*on.get("images", ())})
    are_known = {dataset, on.get("dataset")} <= {*_DATA_SETS}
    if are_known and dataset != on["dataset"]:
        return None
    # Of a folder, a CSV file or Python's images only the names are known.
    which = "scored images" if are_known else "images with the names of scored images"
    said = f"{which} chose the shift of the output bias: {', '.join(names)}"
    return said if names else None


def _file(folder: Path, name: str) -> Path:
    """The file for an image, whose name may contain folders. They are created."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
