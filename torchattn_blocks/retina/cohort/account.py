"""Which images are done, and the result of each."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..measures.columns import SIZE
from ..write import cell_text, csv_text, write_whole
from .images import CohortImage
from .manifest import COLUMNS, DONE, FAILED, FILE, RECORDS, Manifest, Row, read_manifest
from .options import Options
from .segmenter import Segmented, hash_of, state_of

_HASH = "sha256"


class Account:
    """The manifest of a folder, for one run over images.

    Args:
        options: How they are segmented.
        number: The number of the options.
        images: The images.

    Attributes:
        todo: The images that are not done. Their files are missing or not whole, or were made with
            other weights or options, by another version, or before the image or its mask changed.
        again: How many of these were done before.

    Raises:
        ValueError: If the folder has other files named like the manifest or options.json.
    """

    def __init__(self, options: Options, number: str, images: Sequence[CohortImage]) -> None:
        self.options = options
        self.number = number
        self.images = images
        records = _read_records(options.out)
        known = {row["name"]: row for row in read_manifest(options.out / FILE)}
        done = {
            image.name: self._hashed(image, known[image.name])
            for image in images
            if image.name in known and self._is_done(image, known[image.name])
        }
        self.todo = [image for image in images if image.name not in done]
        self.again = sum(known.get(image.name, {}).get("status") == DONE for image in self.todo)
        # The rows of other images stay, unless their files will be written over.
        again = {image.name for image in self.todo}
        kept = [done.get(name, row) for name, row in known.items() if name not in again]
        self.manifest = Manifest(options.out / FILE, kept)
        if number not in records:
            records[number] = options.record()
            write_whole(options.out / RECORDS, json.dumps(records, indent=2).encode())

    def add(self, one: Segmented) -> None:
        """Account for an image after its files are on the disk."""
        row = {
            "path": _key(one.image),
            "name": one.image.name,
            "status": FAILED if one.error else DONE,
            "error": " ".join(one.error.split()),
            "seconds": f"{one.seconds:.3f}",
            "made_by": self.number,
            "made_of": one.made_of,
        }
        if one.sha256:
            row[_HASH] = one.sha256
        if one.measures is not None:
            measures = one.measures.row(self.options.um_per_pixel)
            row |= {name: cell_text(value) for name, value in measures.items()}
        self.manifest.add(row)

    def finish(self) -> list[Row]:
        """Sort the manifest. The rows of these images are returned, sorted by name."""
        own = {image.name for image in self.images}
        rows = [row for row in self.manifest.sort() if row["name"] in own]
        return sorted(rows, key=lambda row: row["name"])

    def _is_done(self, image: CohortImage, row: Row) -> bool:
        made = (row["path"], row["status"], row["made_by"]) == (_key(image), DONE, self.number)
        try:
            same = made and row["made_of"] == state_of(image)
        except OSError:  # the image is gone: reading it will report that
            return False
        return same and self.options.outputs.are_whole(image.name)

    def _hashed(self, image: CohortImage, row: Row) -> Row:
        """A row with the hash of the image, if it is asked for."""
        if not self.options.sha256 or row.get(_HASH):
            return row
        return {**row, _HASH: hash_of(image)}


def _read_records(out: Path) -> dict[str, object]:
    """What the numbers in the column ``made_by`` mean."""
    path = out / RECORDS
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        is_ours = all("weights_sha256" in record for record in known.values())
    except (ValueError, AttributeError, TypeError):
        is_ours = False
    if not is_ours:
        raise ValueError(
            f"{path}: must be a file that segment wrote. Move it away, or use another --out"
        )
    return known


def measures_table(rows: Sequence[Row], um_per_pixel: float | None) -> str:
    """The measures in rows of a manifest, as the command ``measure`` writes them.

    It is empty if there are none.
    """
    measured = [row for row in rows if row["status"] == DONE and row.get(SIZE)]
    columns = [name for name in next(iter(measured), {}) if name not in (*COLUMNS, _HASH)]
    if um_per_pixel is None:  # other rows of the manifest may have these columns
        columns = [name for name in columns if not name.endswith("_um")]
    if not measured:
        return ""
    return csv_text(
        ["image", *columns], ([row["name"], *(row[c] for c in columns)] for row in measured)
    )


def _key(image: CohortImage) -> str:
    return str(image.path.absolute())
