"""Tables of measures, as the command ``measure`` or another program writes them."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from ..data.pairs import stem_of
from .columns import COLUMNS, SIZE

Rows = dict[str, dict[str, float]]


def read_rows(path: Path) -> Rows:
    r"""The measures of each image in a CSV file with a column ``image``, by the names of columns.

    Columns that are no measure are ignored. An empty cell is NaN.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a CSV file in UTF-8, there is no column ``image``, no measure or no
            row, an image is missing or there twice, or a measure is not a finite number.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.measures.rows import read_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "measures.csv")
        ...     _ = path.write_text("image,camera,density\n07,old,0.12\n")
        ...     read_rows(path)
        {'07': {'density': 0.12}}
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such CSV file or folder")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path}: must be a CSV file in UTF-8 ({cause})") from cause
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    columns = [name for name in reader.fieldnames if name in (*COLUMNS, SIZE)]
    if "image" not in reader.fieldnames or not {*columns} & {*COLUMNS}:
        raise ValueError(
            f"{path}: must have a column image and measures such as {', '.join(COLUMNS[:3])}, "
            f"separated by commas; got {', '.join(reader.fieldnames) or 'none'}"
        )
    rows: Rows = {}
    stems = set()
    for row in _read(path, reader):
        where = f"{path}: row {reader.line_num}"
        name = (row["image"] or "").strip()
        stem = stem_of(name).casefold()
        if not name:
            raise ValueError(f"{where} has no image")
        if stem in stems:
            raise ValueError(f"{where}: another row has the image {name} too")
        stems.add(stem)
        rows[name] = {column: _number(f"{where}: {column}", row[column]) for column in columns}
    if not rows:
        raise ValueError(f"{path}: must have at least 1 row, got 0")
    return rows


def _read(path: Path, reader: "csv.DictReader[str]") -> Iterator[dict[str, str | None]]:
    """The rows; an error of the reader names the file."""
    try:
        yield from reader
    except csv.Error as cause:
        raise ValueError(f"{path}: not a CSV file ({cause})") from cause


def _number(where: str, cell: str | None) -> float:
    """The number in a cell."""
    text = (cell or "nan").strip() or "nan"
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{where} must be a number, got {text!r}") from None
    if math.isinf(number):
        raise ValueError(f"{where} must be finite, got {text}")
    return number
