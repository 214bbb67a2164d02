"""The command ``segment``."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from ._diameter import Diameter, check_diameter
from ._folder import check_folder
from ._measuring import FILE as MEASURES
from ._measuring import check_measuring, quality

if TYPE_CHECKING:
    from ..cohort.account import Account
    from ..cohort.images import CohortImage
    from ..cohort.options import Options
    from ..cohort.segmenter import Segmented
    from ..workers.tasks import Done, Waiting, Workers

_AT_ONCE = 4  # images in one process; more wait for Python's lock
_BATCH = 8  # images that go through the network together on a GPU
_NAMED = 10  # failures that are printed at the end


@dataclass(frozen=True)
class Segment:
    """Find the vessels in fundus images of any camera and size.

    Writes to the folder --out, for each image NAME: NAME-probability.png (16-bit grey; in Python
    np.asarray(Image.open(path)) / 65535 is the probability), NAME-vessels.png (white where the
    probability is above the threshold), NAME-fov.png (white in the field of view) and
    NAME-overlay.png (the image with vessels marked and the field of view outlined). Outside the
    field of view the probability is 0. With --uncertainty also NAME-uncertainty.png. If an image
    cannot be read, goes on with the others. manifest.csv has a row for each image. After a stop,
    run the same command again: it skips images whose files are whole and made with the same weights
    and options, if neither image nor mask has changed. For research; not for diagnosis.
    """

    images: Positional[tuple[Path, ...]]
    """Colour fundus images, folders of them, or lists: a CSV file with a column image or path (and
    perhaps mask and name), or a .txt file with a path on each line."""
    recursive: bool = False
    """Also take the images in subfolders of the given folders; their files are written to folders
    of the same names."""
    weights: str = "drive"
    """Name of shipped weights (drive, chase_db1), or a weights file written by train."""
    masks: Path | None = None
    """Folder of fields of view, white where the camera saw the retina. Each has the name of its
    image, perhaps with _mask or -fov at the end. By default they are estimated from the images."""
    out: Path = Path("runs/segment")
    """Folder to write to."""
    threshold: float = 0.5
    """A pixel with a probability above it counts as vessel."""
    min_size: int = 0
    """Leave connected vessels of fewer pixels out of NAME-vessels.png, counted at the size that the
    network sees; for example 30."""
    layout: Literal["names", "folders"] = "names"
    """names: NAME-vessels.png and so on, all in --out. folders: vessels/NAME.png and so on, which
    is how other programs pair files."""
    measure: bool = False
    """Also measure the vessels and write measures.csv, as the command measure does; needs the extra
    [measures]."""
    um_per_pixel: float | None = None
    """With --measure: micrometres of the retina that a pixel of the image shows, for columns in
    micrometres."""
    fov_diameter: Diameter | None = None
    """Resize images until their field of view has this diameter in pixels; by default the diameter
    used in training (535 for drive). Try twice as much if vessels are narrow in a wide field of
    view. auto: for each image, the diameter at which the network is most certain of the vessels;
    takes six times as long or more, and was found to work with the weights drive."""
    flips: bool = False
    """Average over each image and its three flips; takes four times as long."""
    uncertainty: int | None = None
    """Also segment each image this many times with random blocks dropped, for example 20, and write
    the standard deviation of the probability: NAME-uncertainty.png (16-bit grey, 65535 is 0.5).
    Each pass takes as long as the image. Only networks with DropBlock can do it."""
    jobs: int = 1
    """How many processes of this machine share the images. A single process computes up to four
    images at the same time; each of several processes computes one."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786. Its workers share the images; they
    must see the same files. Needs the extra [cluster]."""
    batch_size: int | None = None
    """How many images of similar size go through the network together; by default 8 on a GPU,
    otherwise 1."""
    sha256: bool = False
    """Also write the SHA-256 of each image's file to manifest.csv."""

    def __call__(self) -> None:
        """Run the command."""
        self._check()
        from ..cohort.images import check_not_written_over, list_images, with_masks
        from ..cohort.manifest import locked

        images = list_images(self.images, self.out, recursive=self.recursive)
        if self.masks is not None:
            if not self.masks.is_dir():
                raise FileNotFoundError(f"--masks must be a folder that exists, got {self.masks}")
            images = with_masks(images, self.masks)
        if self.scheduler is not None:  # workers have another current folder
            images = [image.absolute() for image in images]
        from ..cohort.segmenter import segmenter
        from ..weights import weights_file

        options = self._options(weights_file(self.weights), several=len(images) > 1)
        if self.fov_diameter == "auto" and self.weights.lower() != "drive":
            print("--fov-diameter auto was found to work with weights drive, not with chase_db1.")
        check_not_written_over(images, options.outputs)
        with ExitStack() as stack:
            workers = self._workers(len(images), stack)
            number = options.number()
            segmenter(options, number)  # errors in the weights show before anything is written
            self.out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self.out))
            failures = self._segment(images, options, number, workers)
        if failures:
            more = len(failures) - _NAMED
            shown = failures[:_NAMED] + ([f"and {more} more, see manifest.csv"] * (more > 0))
            count = f"{len(failures)} of {len(images)} images"
            raise ValueError("\n".join([f"{count} could not be segmented:", *shown]))

    def _check(self) -> None:
        """Raise an error if an option is wrong."""
        if not self.images:
            raise ValueError("segment: images must name at least 1 image or folder, got none")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie in [0, 1], got {self.threshold}")
        if self.uncertainty is not None and self.uncertainty < 2:
            raise ValueError(f"--uncertainty must be at least 2, got {self.uncertainty}")
        if self.min_size < 0:
            raise ValueError(f"--min-size must be at least 0, got {self.min_size}")
        if self.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {self.jobs}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")
        if self.scheduler is not None and self.jobs > 1:
            raise ValueError(f"--jobs is of this machine, not for --scheduler, got {self.jobs}")
        if self.um_per_pixel is not None and not self.measure:
            raise ValueError(f"--um-per-pixel needs --measure, got {self.um_per_pixel} without it")
        if self.measure:
            check_measuring("--measure", self.um_per_pixel)
        check_diameter(self.fov_diameter)
        check_folder("--out", self.out)

    def _options(self, weights: Path, *, several: bool) -> "Options":
        from ..cohort.options import Options

        return Options(
            weights.absolute(),
            self.out.absolute(),
            layout=self.layout,
            threshold=self.threshold,
            min_size=self.min_size,
            fov_diameter=self.fov_diameter,
            flips=self.flips,
            uncertainty=self.uncertainty,
            um_per_pixel=self.um_per_pixel,
            measure=self.measure,
            sha256=self.sha256,
            one_thread=several,
        )

    def _workers(self, images: int, stack: ExitStack) -> "Workers":
        """The workers for so many images."""
        if self.scheduler is not None:
            from ..workers.cluster import Cluster

            cluster = stack.enter_context(Cluster(self.scheduler))
            many = cluster.at_once()
            print(f"{self.scheduler}: {many} images at the same time" + "; waiting" * (not many))
            return cluster
        import torch

        from ..workers.processes import Processes
        from ..workers.threads import Threads

        if self.jobs > 1:
            return Processes(min(self.jobs, images))
        has_gpu = torch.accelerator.is_available()
        at_once = min(_AT_ONCE, _AT_ONCE if has_gpu else torch.get_num_threads(), images)
        if self.uncertainty is None or at_once == 1:
            return Threads(at_once)
        # Blocks are drawn from the random numbers of the process, so images go one by one.
        return Threads(1) if has_gpu else Processes(at_once)

    def _segment(
        self, images: "list[CohortImage]", options: "Options", number: str, workers: "Workers"
    ) -> list[str]:
        """Segment the images that are not done yet, and return the errors of those that failed."""
        import torch
        from tqdm import tqdm

        from ..cohort.account import Account
        from ..cohort.manifest import FILE
        from ..cohort.segmenter import segment_images
        from ._bar import image_bar

        account = Account(options, number, images)
        todo = account.todo
        if done := len(images) - len(todo):
            print(f"{done} of {len(images)} images are done already, says {self.out / FILE}")
        if account.again:
            print(
                f"{account.again} images are done again: options, weights, version, image, mask or "
                "files have changed"
            )
        if not todo:
            self._finish(account)
            return []
        size = self.batch_size or (_BATCH if torch.accelerator.is_available() else 1)
        batches = [tuple(todo[at : at + size]) for at in range(0, len(todo), size)]
        results = workers.carry_out(partial(segment_images, options, number), batches)
        failures = []
        try:
            with image_bar(len(todo)) as bar, closing(results):
                for one in chain.from_iterable(map(_outcomes, results)):
                    account.add(one)
                    bar.update()
                    for line in self._said(one):  # names may be in any code
                        tqdm.write(os.fsencode(line).decode(errors="replace"))
                    failures += [one.error] * bool(one.error)
        finally:
            self._finish(account)
        return failures

    def _finish(self, account: "Account") -> None:
        """Sort the manifest and write the measures. If there are none, remove an older file."""
        from ..cohort.account import measures_table
        from ..write import write_whole

        rows, path = account.finish(), self.out / MEASURES
        if not self.measure:
            return
        if table := measures_table(rows, self.um_per_pixel):
            write_whole(path, table.encode(errors="surrogateescape"))
            print(path)
        else:
            path.unlink(missing_ok=True)

    def _said(self, one: "Segmented") -> Iterator[str]:
        """The lines to print about an image."""
        from ..cohort.outputs import Outputs

        if one.error:
            return
        for remark in one.remarks:
            yield f"{one.image.path}: {remark}"
        yield str(Outputs(self.out, self.layout, ()).file(one.image.name, "overlay"))
        if one.measures is not None:
            yield f"{one.image.path}: {quality(one.measures)}"


def _outcomes(
    over: "Done[tuple[CohortImage, ...], list[Segmented]] | Waiting[Any]",
) -> "list[Segmented]":
    """The results for the images of a batch."""
    from ..cohort.segmenter import Segmented
    from ..workers.tasks import Waiting, WorkerDiedError

    if isinstance(over, Waiting):
        return []
    try:
        return over.future.result()
    except WorkerDiedError as error:
        return [Segmented(image, error=f"{image.path}: {error}") for image in over.task]
