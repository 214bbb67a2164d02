"""The command ``calibrate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import DatasetName
from ._diameter import Diameter, check_diameter, resolved
from ._folder import check_folder

if TYPE_CHECKING:
    from ..data.files import FundusFiles

_FEW = 10  # images from which on a shift can be trusted


@dataclass(frozen=True)
class Calibrate:
    """Shift the output bias of weights so that 0.5 is the best threshold for your labelled images.

    Use images of the camera and the observer that the weights are for, ten or more. Do not score
    the weights on these images: evaluate says if you do.
    """

    data: Path
    """Folder of the images, or the CSV file."""
    dataset: DatasetName = "folder"
    """Layout of the data. Of drive and chase_db1 the training and validation images are used; of a
    folder or CSV file all labelled images outside test/; of stare and hrf all."""
    weights: str = "drive"
    """Name of shipped weights (drive, chase_db1), or a weights file."""
    out: Path = Path("runs/calibrated.safetensors")
    """Weights file to write; it may be the file of --weights."""
    flips: bool = False
    """Average over each image and its three flips, if you will segment so."""
    fov_diameter: Diameter | None = None
    """As in segment; give what you will give there. auto: the diameters are found before the
    shift; segment then finds them with the shifted weights, and they may differ."""

    def __call__(self) -> None:
        """Run the command."""
        check_diameter(self.fov_diameter)
        if self.out.is_dir():
            raise ValueError(f"--out must be a file, got the folder {self.out}")
        check_folder("the folder of --out", self.out.parent)
        from ..calibration import chosen, shifted, sweep_of
        from ..device import to_accelerator
        from ..evaluation.counts import THRESHOLDS
        from ..weights import named_weights, save_weights
        from ._bar import image_bar

        trained = to_accelerator(named_weights(self.weights))
        files = self._files()
        sweeps = []
        with image_bar(len(files), files) as bar:
            for one in bar:
                fundus = one.read()
                diameter = resolved(self.fov_diameter, fundus, trained)
                sweeps.append(sweep_of(fundus, trained, diameter, flips=self.flips))
        choice = chosen(str(self.data), sweeps)
        on = {"dataset": self.dataset, "images": sorted(one.name for one in files)}
        how = {"flips": self.flips, "fov_diameter": self.fov_diameter}
        calibrated = shifted(trained, choice, on | how)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        save_weights(self.out, *calibrated)
        print(choice.said())
        if choice.images < _FEW:
            print(f"Fewer than {_FEW} images: the best threshold for others may be another.")
        if choice.threshold in (THRESHOLDS[0], THRESHOLDS[-1]):
            print(
                "The best threshold is at the end of .01 to .99. Calibrate the new weights again."
            )
        choice.print_remark()
        print(f"Saved weights in {self.out}")

    def _files(self) -> "list[FundusFiles]":
        """The labelled images that may choose a threshold."""
        from ..protocol import is_test
        from ._dataset import list_dataset, open_dataset

        if self.dataset in ("drive", "chase_db1"):
            _, split = open_dataset(self.dataset, self.data)
            files = [*split.training, *split.validation]
        else:
            every = list_dataset(self.dataset, self.data)
            files = [one for one in every if not is_test(one.name)]
            if len(files) == len(every):
                print("All images choose the shift: none is left for evaluate to score.")
        labelled = [one for one in files if one.label is not None]
        if not labelled:
            raise ValueError(f"{self.data}: no image that may choose a threshold has a vessel mask")
        return labelled
