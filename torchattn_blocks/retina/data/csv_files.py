"""Images listed in a CSV file."""

from pathlib import Path

from .csv_table import read_table, require_rows
from .files import FundusFiles

_PATHS = ("image", "label", "mask", "second_label")
_COLUMNS = (*_PATHS, "dataset")


def list_csv(path: str | Path) -> list[FundusFiles]:
    r"""List the images of a CSV file with the columns ``image``, ``label`` and ``mask``.

    Each row has the paths of one image, its vessel mask and its field of view, absolute or relative
    to the folder of the CSV file. All columns except ``image`` are optional, and their cells may be
    empty. A column ``second_label`` is for vessel masks of a second observer. A column ``dataset``
    names each image's data set, for trainings on several.

    Args:
        path: The CSV file, with a header.

    Returns:
        The files of each image, sorted by name. The name is the relative path of the image without
        its ending and without ``..``, or the stem of an absolute path.

    Raises:
        FileNotFoundError: If the CSV file or a file named in it does not exist.
        ValueError: If there is no column ``image``, a column has another name or appears twice,
            there is no row, or two images have the same name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from torchattn_blocks.retina import list_csv
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (48, 32)).save(Path(root, "eye.png"))
        ...     Image.new("L", (48, 32)).save(Path(root, "vessels.png"))
        ...     table = Path(root, "mine.csv")
        ...     _ = table.write_text("image,label\neye.png,vessels.png\n")
        ...     [files] = list_csv(table)
        >>> files.name, files.label.name
        ('eye', 'vessels.png')
    """
    path = Path(path)
    table = read_table(path)
    if "image" not in table.columns or not {*table.columns} <= {*_COLUMNS}:
        raise ValueError(
            f"{path}: columns must be image and, optionally, {', '.join(_COLUMNS[1:])}, separated "
            f"by commas; got {', '.join(table.columns) or 'none'}"
        )
    require_rows(path, table)
    files: dict[str, FundusFiles] = {}
    for number, row in table.rows:
        given = {column: _file(path, number, row.get(column, "")) for column in _PATHS}
        if given["image"] is None:
            raise ValueError(f"{path}: row {number} has no image")
        relative = Path(row["image"])
        # Without "..": files are written under this name, so it must not lead out of a folder.
        parts = [part for part in relative.with_suffix("").parts if part != ".."]
        name = relative.stem if relative.is_absolute() else "/".join(parts)
        if name in files:
            raise ValueError(f"{path}: row {number}: another row has the image {name} too")
        files[name] = FundusFiles(
            name,
            given["image"],
            given["label"],
            given["mask"],
            given["second_label"],
            row.get("dataset", ""),
        )
    return [files[name] for name in sorted(files)]


def _file(table: Path, row: int, cell: str) -> Path | None:
    """The file that a cell names, if it names one."""
    if not cell:
        return None
    file = table.parent / cell
    if not file.is_file():
        raise FileNotFoundError(f"{table}: row {row}: {file} does not exist")
    return file
