"""What a worker does with images: read, segment, write."""

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ... import __version__
from ..allocator import keep_freed_memory, return_freed_memory, share_freed_memory
from ..data.files import FundusFiles
from ..data.fov import fov_remark
from ..data.predictions import save_prediction
from ..device import to_accelerator
from ..fundus import Fundus
from ..measures.measure import measure_vessels
from ..measures.values import VesselMeasures
from ..overlays import overlay
from ..predict import (
    Seen,
    check_drops,
    seen_fundus,
    seen_probabilities,
    segment_monte_carlo,
    working_scale,
)
from ..specks import without_specks
from ..weights import load_weights
from ..working_diameter import find_fov_diameter
from ..write import write_png
from .images import CohortImage
from .options import Options

_LEAST = 100.0  # pixels: in a narrower field of view no vessel is a pixel wide
_ENLARGED = 3.0  # an image enlarged by more has fewer pixels than vessels need
_RETURN = 16  # images after which freed memory goes back to the system
# Errors that cost one image. If a file cannot be written, OSError stops the run.
_OF_AN_IMAGE = (ValueError, RuntimeError, MemoryError)

Map = NDArray[np.float32]


class Segmented(NamedTuple):
    """The result for an image.

    Attributes:
        image: The image.
        seconds: How long it took.
        error: Why it could not be segmented, or nothing.
        remarks: What a user should know about it.
        measures: The measures of its vessels, if they were asked for.
        sha256: The hash of its file, if it was asked for.
        made_of: The state of its file and its mask before they were read, see `state_of`.
    """

    image: CohortImage
    seconds: float = 0.0
    error: str = ""
    remarks: tuple[str, ...] = ()
    measures: VesselMeasures | None = None
    sha256: str = ""
    made_of: str = ""


class _Shown(NamedTuple):
    """An image, and the network's input for it."""

    image: CohortImage
    fundus: Fundus
    diameter: float | None
    seen: Seen
    state: str
    sha256: str


class _Found(NamedTuple):
    """The network's results for an image."""

    probability: Map
    deviation: Map | None


class Segmenter:
    """Loads one network and segments images with it.

    Several threads may call it at the same time.

    Args:
        options: What to do.

    Raises:
        ValueError: If the network has no dropout and uncertainty is asked for.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        _prepare_process(one_thread=options.one_thread)
        trained = to_accelerator(load_weights(options.weights))
        if options.uncertainty is not None:
            check_drops("--uncertainty", trained)
        on_cpu = next(trained.model.parameters()).device.type == "cpu"
        if on_cpu:
            trained.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trained = trained
        # An accelerator has one image at a time, or one batch, in its memory. For uncertainty, the
        # network is in another mode, and draws from the random numbers of the process.
        alone = not on_cpu or options.uncertainty is not None
        self._network: AbstractContextManager[object] = Lock() if alone else nullcontext()
        self._measuring = Lock()  # SciPy's warnings are switched off for the whole process
        self._count = 0

    def __call__(self, images: Sequence[CohortImage]) -> list[Segmented]:
        """Segment images. Images of similar size go through the network together.

        Raises:
            OSError: If a file cannot be written.
        """
        start = time.perf_counter()
        shown: list[_Shown] = []
        over: dict[CohortImage, Segmented] = {}
        for image in images:
            try:
                shown.append(self._show(image))
            except (OSError, *_OF_AN_IMAGE) as error:
                over[image] = _failure(image, error)
        for one, found in zip(shown, self._compute(shown), strict=True):
            over[one.image] = self._finish(one, found)
        self._count += len(images)
        if self._count >= _RETURN:
            self._count = 0
            return_freed_memory()
        seconds = (time.perf_counter() - start) / len(images)
        return [over[image]._replace(seconds=seconds) for image in images]

    def _show(self, image: CohortImage) -> _Shown:
        """Read an image, and prepare it for the network."""
        state, digest = state_of(image), hash_of(image) if self.options.sha256 else ""
        files = FundusFiles(image.name, image.path, None, image.mask, None)
        fundus, diameter = files.read(), self.options.fov_diameter
        if diameter == "auto":
            with self._network:
                diameter = find_fov_diameter(fundus.image, self.trained, fov=fundus.fov)
        seen = seen_fundus(fundus, self.trained, diameter)
        return _Shown(image, fundus, diameter, seen, state, digest)

    def _compute(self, shown: Sequence[_Shown]) -> list[_Found | Exception]:
        """The network's results for images. If several fail together, each is tried by itself."""
        if not shown:
            return []
        seen = [one.seen for one in shown]
        try:
            with self._network:
                maps = seen_probabilities(seen, self.trained, flips=self.options.flips)
                return [
                    _Found(*both) for both in zip(maps, map(self._deviation, shown), strict=True)
                ]
        except _OF_AN_IMAGE as error:
            if len(shown) == 1:
                return [error]
        return [found for one in shown for found in self._compute([one])]

    def _deviation(self, one: _Shown) -> Map | None:
        passes = self.options.uncertainty
        if passes is None:
            return None
        how = {"fov": one.fundus.fov, "fov_diameter": one.diameter}
        return segment_monte_carlo(one.fundus.image, self.trained, passes, **how)[1]  # type: ignore[arg-type]

    def _finish(self, one: _Shown, found: _Found | Exception) -> Segmented:
        """Write the files of an image."""
        if isinstance(found, Exception):
            return _failure(one.image, found)
        fundus = one.fundus
        scale = working_scale("segment", fundus.fov, one.diameter, self.trained.settings)
        remarks = _remarks(one, scale, self.options.fov_diameter == "auto")
        try:
            vessels = self._save(fundus, found, scale)
            measures = self._measure(vessels, fundus) if self.options.measure else None
        except _OF_AN_IMAGE as error:
            return _failure(one.image, error)
        return Segmented(one.image, 0.0, "", tuple(remarks), measures, one.sha256, one.state)

    def _measure(self, vessels: NDArray[np.bool_], fundus: Fundus) -> VesselMeasures:
        with self._measuring:
            return measure_vessels(vessels, fundus.fov)

    def _save(self, fundus: Fundus, found: _Found, scale: float) -> NDArray[np.bool_]:
        """Write the files of an image; return the vessel mask."""
        options, probability = self.options, found.probability * fundus.fov
        file = partial(options.outputs.file, fundus.name)
        file("overlay").parent.mkdir(parents=True, exist_ok=True)
        if options.layout == "folders":
            for path in options.outputs.of(fundus.name):
                path.parent.mkdir(parents=True, exist_ok=True)
        save_prediction(file("probability"), probability)
        if found.deviation is not None:
            # White is the largest deviation of many probabilities. With few it may be larger.
            shown = np.minimum(2 * found.deviation, 1) * fundus.fov
            save_prediction(file("uncertainty"), shown, "Twice the deviation of the probability")
        vessels = without_specks(probability > options.threshold, options.min_size / scale**2)
        for kind, mask in (("vessels", vessels), ("fov", fundus.fov)):
            write_png(file(kind), mask)
        write_png(file("overlay"), overlay(fundus.image, vessels, fundus.fov))
        return vessels


_loaded: dict[tuple[Options, str], Segmenter] = {}
_loading = Lock()


def segment_images(options: Options, number: str, images: Sequence[CohortImage]) -> list[Segmented]:
    """Segment images. Each process loads the network once.

    Args:
        options: How.
        number: The number of the options on the machine that listed the images.
        images: The images.
    """
    return segmenter(options, number)(images)


def segmenter(options: Options, number: str) -> Segmenter:
    """The segmenter of these options in this process.

    Raises:
        ValueError: If the options have another number in this process.
    """
    with _loading:
        if (options, number) not in _loaded:
            if options.number() != number:
                raise ValueError(
                    f"{options.weights}: a worker on {platform.node()} has other weights in this "
                    f"file, or another version of torchattn_blocks ({__version__} there)"
                )
            _loaded.clear()
            _loaded[options, number] = Segmenter(options)
        return _loaded[options, number]


def state_of(image: CohortImage) -> str:
    """Size and time of change of an image's file; the path, size and time of its mask.

    Raises:
        OSError: If there is no such file.
    """
    said = [_size_and_time(image.path)]
    if image.mask is not None:
        said += [str(image.mask.absolute()), _size_and_time(image.mask)]
    return " ".join(said)


def _size_and_time(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this file does not exist") from None
    return f"{found.st_size}:{found.st_mtime_ns}"


def hash_of(image: CohortImage) -> str:
    """The SHA-256 of an image's file."""
    with image.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prepare_process(*, one_thread: bool) -> None:
    """Set up memory and threads of this process for many images."""
    keep_freed_memory()
    share_freed_memory()
    if one_thread:
        torch.set_num_threads(1)


def _failure(image: CohortImage, error: Exception) -> Segmented:
    said = str(error) or type(error).__name__
    path = str(image.path)
    return Segmented(image, error=said if said.startswith(path) else f"{path}: {said}")


def _remarks(one: _Shown, scale: float, was_found: bool) -> Iterator[str]:
    """What a user should know about an image, in one line each."""
    fundus, diameter = one.fundus, one.diameter
    if one.image.mask is None and (remark := fov_remark(fundus.image, fundus.fov)):
        yield remark
    if scale > _ENLARGED:
        height, width = fundus.fov.shape
        yield f"{max(height, width)} pixels wide, enlarged {scale:.0f} times"
    if was_found:
        yield f"field of view resized to {diameter:.0f} pixels"
    if diameter is not None and diameter < _LEAST:
        yield f"at {diameter:g} pixels, vessels are too narrow to see"
