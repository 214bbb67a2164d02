"""Reading tables in CSV files."""

import csv
import io
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """The table of a CSV file.

    Attributes:
        columns: Names of the columns, in small letters.
        rows: For each row the number of its line in the file, and the text of its cells by column
            name. A missing cell is empty.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]


def read_table(path: Path) -> Table:
    r"""Read a CSV file with a header. Spaces around cells do not count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in UTF-8 or not CSV, or has two columns with the same name or a row
            with more cells than there are columns.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.data.csv_table import read_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "measures.csv")
        ...     _ = path.write_text("Image, Density\n07, 0.12\n")
        ...     read_table(path)
        Table(columns=['image', 'density'], rows=[(2, {'image': '07', 'density': '0.12'})])
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this CSV file does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path}: must be a CSV file in UTF-8 ({cause})") from cause
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        read = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as cause:
        raise ValueError(f"{path}: not a CSV file ({cause})") from cause
    lines = [(number, cells) for number, cells in read if any(cells)]
    columns = [name.lower() for name in lines[0][1]] if lines else []
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise ValueError(f"{path}: two columns have the name {twice[0]}")
    rows = []
    for number, cells in lines[1:]:
        if any(cells[len(columns) :]):
            raise ValueError(
                f"{path}: row {number} has more cells than there are columns "
                f"({', '.join(columns)}). Separate cells by commas, and decimals by a point"
            )
        filled = cells + [""] * (len(columns) - len(cells))
        rows.append((number, dict(zip(columns, filled, strict=False))))
    return Table(columns, rows)


def require_rows(path: Path, table: Table) -> None:
    """Raise `ValueError` if a table has no row."""
    if not table.rows:
        raise ValueError(f"{path}: must have at least 1 row, got 0")
