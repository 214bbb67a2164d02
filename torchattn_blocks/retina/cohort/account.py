"""Which images are done, and what became of each."""

import json
from collections.abc import Sequence

from ..measures.columns import SIZE
from ..write import cell_text, csv_text, write_whole
from .images import CohortImage
from .manifest import COLUMNS, DONE, FAILED, FILE, Manifest, Row, read_manifest
from .options import Options
from .segmenter import Segmented, hash_of

_HASH = "sha256"


class Account:
    """The manifest of a folder, for one run over images.

    Args:
        options: How they are segmented.
        number: The number of the options.
        images: The images.

    Attributes:
        todo: The images that are not done: their files are not there, not whole, older than the
            image or its mask, or made with other weights, options or another version.

    Raises:
        ValueError: If the folder has another file of the manifest's name.
    """

    def __init__(self, options: Options, number: str, images: Sequence[CohortImage]) -> None:
        self.options = options
        self.number = number
        self.images = images
        known = {row["path"]: row for row in read_manifest(options.out / FILE)}
        done = {
            image.name: self._hashed(image, known[_key(image)])
            for image in images
            if _key(image) in known and self._is_done(image, known[_key(image)])
        }
        self.todo = [image for image in images if image.name not in done]
        # The rows of other images stay, but not of those whose files will be written over.
        again = {image.name for image in self.todo}
        kept = [done.get(row["name"], row) for row in known.values() if row["name"] not in again]
        self.manifest = Manifest(options.out / FILE, kept)
        self._record_options()

    def add(self, one: Segmented) -> None:
        """Account for an image, whose files are on the disk."""
        row = {
            "path": _key(one.image),
            "name": one.image.name,
            "status": FAILED if one.error else DONE,
            "error": " ".join(one.error.split()),
            "seconds": f"{one.seconds:.3f}",
            "made_by": self.number,
        }
        if one.sha256:
            row[_HASH] = one.sha256
        if one.measures is not None:
            measures = one.measures.row(self.options.um_per_pixel)
            row |= {name: cell_text(value) for name, value in measures.items()}
        self.manifest.add(row)

    def finish(self) -> list[Row]:
        """Sort the manifest. The rows of these images are returned, sorted by name."""
        own = {_key(image) for image in self.images}
        rows = [row for row in self.manifest.sort() if row["path"] in own]
        return sorted(rows, key=lambda row: row["name"])

    def _is_done(self, image: CohortImage, row: Row) -> bool:
        made = (row["name"], row["status"], row["made_by"]) == (image.name, DONE, self.number)
        return made and self.options.outputs.are_whole(image.name, image.path, image.mask)

    def _hashed(self, image: CohortImage, row: Row) -> Row:
        """A row with the hash of the image, if it is asked for."""
        if not self.options.sha256 or row.get(_HASH):
            return row
        return {**row, _HASH: hash_of(image)}

    def _record_options(self) -> None:
        """Keep what the numbers in the column ``made_by`` stand for."""
        path = self.options.out / "options.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if self.number not in known:
            known[self.number] = self.options.record()
            write_whole(path, json.dumps(known, indent=2).encode())


def measures_table(rows: Sequence[Row]) -> str:
    """The measures in rows of a manifest, as the command ``measure`` writes them.

    It is empty if there are none.
    """
    measured = [row for row in rows if row["status"] == DONE and row.get(SIZE)]
    columns = [name for name in next(iter(measured), {}) if name not in (*COLUMNS, _HASH)]
    if not measured:
        return ""
    return csv_text(
        ["image", *columns], ([row["name"], *(row[c] for c in columns)] for row in measured)
    )


def _key(image: CohortImage) -> str:
    return str(image.path.absolute())
