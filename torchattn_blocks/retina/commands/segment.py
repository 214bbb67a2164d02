"""The command ``segment``."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from ._diameter import Diameter, check_diameter
from ._folder import check_folder
from ._measuring import FILE, check_measuring, measures_file, quality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..fundus import Fundus

_LEAST = 100.0  # pixels of a field of view; in a narrower one no vessel is a pixel wide
_ENLARGED = 3.0  # an image enlarged by more has fewer pixels than vessels need


@dataclass(frozen=True)
class Segment:
    """Find the vessels in fundus images of any camera and size.

    Writes to the folder --out, for each image NAME: NAME-probability.png (16-bit grey; in Python
    np.asarray(Image.open(path)) / 65535 is the probability), NAME-vessels.png (white where the
    probability is above the threshold), NAME-fov.png (white in the field of view) and
    NAME-overlay.png (the image with vessels marked and the field of view outlined). Outside the
    field of view the probability is 0. With --uncertainty also NAME-uncertainty.png. An image that
    cannot be read does not stop the others. For research; not for diagnosis.
    """

    images: Positional[tuple[Path, ...]]
    """Colour fundus images, or folders of them."""
    weights: str = "drive"
    """Name of shipped weights (drive, chase_db1), or a weights file written by train."""
    masks: Path | None = None
    """Folder of fields of view, white where the camera saw the retina, named as the images, perhaps
    with _mask or -fov behind. By default they are estimated from the images."""
    out: Path = Path("runs/segment")
    """Folder to write to."""
    threshold: float = 0.5
    """A pixel with a probability above it counts as vessel."""
    min_size: int = 0
    """Leave out of NAME-vessels.png connected vessels of fewer pixels, counted at the size that the
    network sees; 30, say."""
    layout: Literal["names", "folders"] = "names"
    """names: NAME-vessels.png and so on, all in --out. folders: vessels/NAME.png and so on, as
    other programs pair files."""
    measure: bool = False
    """Also measure the vessels and write measures.csv, as the command measure does; needs the extra
    [measures]."""
    um_per_pixel: float | None = None
    """With --measure: micrometres of the retina that a pixel of the image shows, for columns in
    micrometres."""
    fov_diameter: Diameter | None = None
    """Resize images until their field of view has this diameter in pixels; by default that of the
    training (535 for drive). Try twice as much where vessels are narrow in a wide field of view.
    auto: the diameter at which the network is most certain of the vessels of each image; takes six
    times as long or more, and was found to work with the weights drive."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    uncertainty: int | None = None
    """Also segment each image so many times with random blocks dropped, 20 for example, and write
    the standard deviation of the probability: NAME-uncertainty.png (16-bit grey, 65535 is 0.5). It
    takes so many times as long. Only networks with DropBlock can do it."""

    def __call__(self) -> None:
        """Run the command."""
        if not self.images:
            raise ValueError("segment: images must name at least 1 image or folder, got none")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie in [0, 1], got {self.threshold}")
        if self.uncertainty is not None and self.uncertainty < 2:
            raise ValueError(f"--uncertainty must be at least 2, got {self.uncertainty}")
        if self.min_size < 0:
            raise ValueError(f"--min-size must be at least 0, got {self.min_size}")
        if self.um_per_pixel is not None and not self.measure:
            raise ValueError(f"--um-per-pixel needs --measure, got {self.um_per_pixel} without it")
        if self.measure:
            check_measuring("--measure", self.um_per_pixel)
        check_diameter(self.fov_diameter)
        check_folder("--out", self.out)
        paths = list(_images(self.images))
        stems = Counter(path.stem for path in paths)
        if twice := [stem for stem, times in stems.items() if times > 1]:
            raise ValueError(
                "segment: images must have different names without their endings, got "
                f"{', '.join(twice)} more than once"
            )
        self._draw(paths, self._masks(paths))

    def _masks(self, paths: list[Path]) -> dict[str, Path]:
        """The files of --masks by the stems of their images."""
        if self.masks is None:
            return {}
        if not self.masks.is_dir():
            raise FileNotFoundError(f"--masks must be a folder that exists, got {self.masks}")
        from ..data.folders import find_masks

        images = {path.stem: path for path in paths}
        found = find_masks(self.masks, images)
        if bare := [str(images[stem]) for stem in images if stem not in found]:
            raise FileNotFoundError(
                f"--masks {self.masks}: this folder holds no field of view of {', '.join(bare)}"
            )
        return found

    def _draw(self, paths: list[Path], masks: dict[str, Path]) -> None:
        from tqdm import tqdm

        from ..data.files import FundusFiles
        from ..data.predictions import KINDS
        from ..predict import check_drops, segment, segment_monte_carlo, working_scale
        from ..weights import named_weights
        from ._bar import image_bar
        from ._device import to_accelerator
        from ._diameter import resolved

        trained = to_accelerator(named_weights(self.weights))
        if self.fov_diameter == "auto" and self.weights.lower() != "drive":
            print("--fov-diameter auto was found to work with weights drive, not with chase_db1.")
        if self.uncertainty is not None:
            check_drops("--uncertainty", trained)
        for kind in KINDS if self.uncertainty is not None else KINDS[:-1]:
            self._file("", kind).parent.mkdir(parents=True, exist_ok=True)
        failures = []
        with ExitStack() as stack:
            measures = {}
            if self.measure:
                file = measures_file(self.out / FILE, self.um_per_pixel)
                measures = stack.enter_context(file)
            for path in stack.enter_context(image_bar(len(paths), paths)):
                std = None
                try:
                    fundus = FundusFiles(path.stem, path, None, masks.get(path.stem), None).read()
                    diameter = resolved(self.fov_diameter, fundus, trained)
                    how: dict[str, Any] = {"fov": fundus.fov, "fov_diameter": diameter}
                    probability = segment(fundus.image, trained, flips=self.flips, **how)
                    if self.uncertainty is not None:
                        _, std = segment_monte_carlo(fundus.image, trained, self.uncertainty, **how)
                except (OSError, ValueError) as error:
                    said = str(error)
                    failures.append(said if said.startswith(str(path)) else f"{path}: {said}")
                    continue
                scale = working_scale("segment", fundus.fov, diameter, trained.settings)
                for remark in _remarks(fundus, scale, is_estimated=path.stem not in masks):
                    tqdm.write(f"{path}: {remark}")
                if self.fov_diameter == "auto":
                    tqdm.write(f"{path}: field of view resized to {diameter:.0f} pixels")
                if diameter is not None and diameter < _LEAST:
                    tqdm.write(f"{path}: at {diameter:g} pixels, vessels are too narrow to see")
                vessels = self._save(fundus, probability * fundus.fov, std, scale)
                tqdm.write(str(self._file(fundus.name, "overlay")))
                if self.measure:
                    from ..measures.measure import measure_vessels

                    measures[fundus.name] = measure_vessels(vessels, fundus.fov)
                    tqdm.write(f"{path}: {quality(measures[fundus.name])}")
        if failures:
            count = f"{len(failures)} of {len(paths)} images"
            raise ValueError("\n".join([f"{count} could not be segmented:", *failures]))

    def _save(
        self,
        fundus: "Fundus",
        probability: "NDArray[np.float32]",
        std: "NDArray[np.float32] | None",
        scale: float,
    ) -> "NDArray[np.bool_]":
        """Write the files of an image; the vessel mask is returned."""
        import numpy as np

        from ..data.predictions import save_prediction
        from ..overlays import overlay
        from ..specks import without_specks
        from ..write import write_png

        file = partial(self._file, fundus.name)
        save_prediction(file("probability"), probability)
        if std is not None:
            # White is the largest deviation of many probabilities. Of few it may be larger.
            shown = np.minimum(2 * std, 1) * fundus.fov
            save_prediction(file("uncertainty"), shown, "Twice the deviation of the probability")
        vessels = without_specks(probability > self.threshold, self.min_size / scale**2)
        for kind, mask in (("vessels", vessels), ("fov", fundus.fov)):
            write_png(file(kind), mask)
        write_png(file("overlay"), overlay(fundus.image, vessels, fundus.fov))
        return vessels

    def _file(self, name: str, kind: str) -> Path:
        """Where a file of an image is written."""
        if self.layout == "folders":
            return self.out / kind / f"{name}.png"
        return self.out / f"{name}-{kind}.png"


def _remarks(fundus: "Fundus", scale: float, *, is_estimated: bool) -> Iterator[str]:
    """What a user should know about an image, in one line each."""
    from ..data.fov import fov_remark

    if is_estimated and (remark := fov_remark(fundus.image, fundus.fov)):
        yield remark
    if scale > _ENLARGED:
        height, width = fundus.fov.shape
        yield f"{max(height, width)} pixels wide, enlarged {scale:.0f} times"


def _images(given: tuple[Path, ...]) -> Iterator[Path]:
    """The given files, and the images in the given folders.

    Raises:
        FileNotFoundError: If there is no such file, or a folder without images.
    """
    for path in given:
        if path.is_dir():
            found = _images_in(path)
            if not found:
                inner = [place for place in sorted(path.iterdir()) if _images_in(place)]
                likely = [place for place in inner if place.name.lower().startswith("im")] or inner
                hint = f" Did you mean {' or '.join(map(str, likely))}?" if inner else ""
                raise FileNotFoundError(f"{path}: this folder holds no image.{hint}")
            yield from found
        elif path.is_file():
            yield path
        else:
            has_pattern = re.search(r"[*?\[]", path.name)
            hint = ": no file fits this pattern" if has_pattern else ": this file does not exist"
            raise FileNotFoundError(f"images: {path}{hint}")


def _images_in(folder: Path) -> list[Path]:
    """The images in a folder; none if it is no folder."""
    from ..data.roles import image_files  # here, so that --help need not load it

    return image_files(folder) if folder.is_dir() else []
