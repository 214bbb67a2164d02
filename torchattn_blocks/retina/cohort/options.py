"""How images are segmented, and a number for it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ... import __version__
from .outputs import Layout, Outputs


@dataclass(frozen=True)
class Options:
    """The options that determine the files of an image, and where the files go.

    Attributes:
        weights: The weights file.
        out: Folder to write to.
        layout: See `Outputs`.
        threshold: A pixel with a probability above it counts as vessel.
        min_size: Connected vessels of fewer pixels are left out.
        fov_diameter: Diameter to resize fields of view to: ``"auto"``, or None for the training's
            diameter.
        flips: Whether to average over flips.
        uncertainty: How many passes with random blocks dropped.
        um_per_pixel: Micrometres that a pixel shows.
        measure: Whether to measure the vessels.
        sha256: Whether to compute a hash of each image's file.
        one_thread: Whether torch computes an image in one thread. Results differ in their last
            digits between numbers of threads.
    """

    weights: Path
    out: Path
    layout: Layout = "names"
    threshold: float = 0.5
    min_size: int = 0
    fov_diameter: float | Literal["auto"] | None = None
    flips: bool = False
    uncertainty: int | None = None
    um_per_pixel: float | None = None
    measure: bool = False
    sha256: bool = False
    one_thread: bool = False

    @property
    def outputs(self) -> Outputs:
        """The files that are written."""
        from ..data.predictions import KINDS

        kinds = KINDS if self.uncertainty is not None else KINDS[:-1]
        return Outputs(self.out, self.layout, kinds)

    def record(self) -> dict[str, object]:
        """The options that the files depend on, as plain data."""
        own = {"weights", "out", "sha256", "one_thread"}
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        options = {name: value for name, value in asdict(self).items() if name not in own}
        return {"version": __version__, "weights_sha256": digest, **options}

    def number(self) -> str:
        """A number that is the same only for equal options, weights and versions of the library."""
        said = json.dumps(self.record(), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]
