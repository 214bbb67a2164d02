"""Tables of measures, as the command ``measure`` or another program writes them."""

from pathlib import Path

from ..data.csv_table import read_table, require_rows
from .columns import COLUMNS, SIZE

_MISSING = {"", "na", "n/a"}  # what R and spreadsheets write
_LARGEST = 1e30

Rows = dict[str, dict[str, float]]


def read_rows(path: Path) -> Rows:
    r"""The measures of each image in a CSV file with a column ``image``, by the names of columns.

    Columns that are not measures are ignored. An empty cell, or one with NA, is NaN.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a CSV file in UTF-8, a column appears twice, there is no column
            ``image``, no measure or no row, an image is missing or appears twice, or a measure is
            not a number or too large.

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
    table = read_table(path)
    columns = [name for name in table.columns if name in (*COLUMNS, SIZE)]
    if "image" not in table.columns or not {*columns} & {*COLUMNS}:
        raise ValueError(
            f"{path}: must have a column image and measures such as {', '.join(COLUMNS[:3])}, "
            f"separated by commas; got {', '.join(table.columns) or 'none'}"
        )
    require_rows(path, table)
    rows: Rows = {}
    for number, row in table.rows:
        where = f"{path}: row {number}"
        name = row["image"]
        if not name:
            raise ValueError(f"{where} has no image")
        if name in rows:
            raise ValueError(f"{where}: another row has the image {name} too")
        rows[name] = {column: _number(f"{where}: {column}", row[column]) for column in columns}
    return rows


def _number(where: str, cell: str) -> float:
    """The number in a cell, with a point before its decimals."""
    text = "nan" if cell.lower() in _MISSING else cell
    try:
        number = float(text.replace("_", "?"))  # Python takes 1_000 for a number
    except ValueError:
        raise ValueError(f"{where} must be a number, got {text!r}") from None
    if abs(number) > _LARGEST:
        raise ValueError(f"{where} must be at most {_LARGEST:g}, got {text}")
    return number
