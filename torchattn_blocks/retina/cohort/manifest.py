"""The record of the work: a row for each image in ``manifest.csv``."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..write import csv_text, write_whole

FILE, RECORDS = "manifest.csv", "options.json"
COLUMNS = ("path", "name", "status", "error", "seconds", "made_by", "made_of")
DONE, FAILED = "done", "failed"

_CODE = ("utf-8", "surrogateescape")  # paths may be in any code

_REMEDY = "Move the file away, or use another --out"

Row = Mapping[str, str]


class Manifest:
    """A table that survives anything that stops the process.

    Each row is on the disk before the next one is made.

    Args:
        path: The file.
        kept: The rows to start with, instead of the rows in the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.cohort.manifest import Manifest, read_manifest
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = Manifest(Path(folder, "manifest.csv"), [])
        ...     manifest.add({"path": "eye.jpg", "name": "eye", "status": "done"})
        ...     [row["status"] for row in read_manifest(manifest.path)]
        ['done']
    """

    def __init__(self, path: Path, kept: Iterable[Row]) -> None:
        self.path = path
        self.columns = list(COLUMNS)
        self._write(list(kept))

    def add(self, row: Row) -> None:
        """Append a row. New columns are added to all rows."""
        if not row.keys() <= {*self.columns}:
            self._write([*read_manifest(self.path), row])
            return
        line = csv_text([row.get(column, "") for column in self.columns], [])
        with self.path.open("ab") as file:
            file.write(line.encode(*_CODE))
            file.flush()
            os.fsync(file.fileno())

    def sort(self) -> list[Row]:
        """Sort the rows in the file by the paths of the images, and return them."""
        rows = read_manifest(self.path)
        self._write(rows)
        return rows

    def _write(self, rows: Sequence[Row]) -> None:
        self.columns = list(dict.fromkeys([*self.columns, *(name for row in rows for name in row)]))
        ordered = sorted(rows, key=lambda row: row["path"])
        cells = ([row.get(column, "") for column in self.columns] for row in ordered)
        write_whole(self.path, csv_text(self.columns, cells).encode(*_CODE))


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest; none if there is no file.

    An incomplete last line, from a stop, is left out.

    Raises:
        ValueError: If the file is not a manifest.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].decode(*_CODE)
    try:
        head, *rows = [*csv.reader(io.StringIO(whole, newline=""))] or [[]]
    except csv.Error as cause:
        raise ValueError(f"{path}: not a CSV file ({cause}). {_REMEDY}") from cause
    if content and not {*COLUMNS} <= {*head}:
        raise ValueError(
            f"{path}: must have the columns {', '.join(COLUMNS)}, as segment writes it, got "
            f"{', '.join(head) or 'none'}. {_REMEDY}"
        )
    return [dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder.

    Raises:
        ValueError: If another process already writes to it.
    """
    from filelock import FileLock, Timeout

    path = out / ".segment.lock"
    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows deletes no open files
                    path.unlink()
    except Timeout:
        raise ValueError(f"--out {out}: another segment is writing to this folder") from None
