"""Write files that appear only when they are complete."""

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTIAL = ".partial"
_LONGEST = 255  # bytes of the name of a file
# For PNG files: faster to write than with Pillow's 6, and the files are hardly larger.
_PNG = {"compress_level": 4}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file. If the disk is full or the power fails, an older file of this name remains.

    Raises:
        OSError: If the file cannot be written; the message names it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.write import write_whole
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "a.txt"), b"complete")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    short = os.fsencode(path.name)[: _LONGEST - len(_PARTIAL)].decode(errors="ignore")
    partial = path.with_name(short + _PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)  # also after Ctrl-C


def write_png(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    """Write an image as PNG. A mask is white where it is True.

    Args:
        path: The file.
        pixels: Values of type uint8 or uint16, or a mask, of shape (H, W) or (H, W, 3).
        options: What Pillow's ``Image.save`` takes.
    """
    values = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", **_PNG, **options)
    write_whole(path, buffer.getvalue())


def write_figure(path: str | Path, figure: "Figure", **options: Any) -> None:
    """Write a figure of matplotlib; the ending of the file chooses the format, as in matplotlib.

    Args:
        path: The file.
        figure: The figure.
        options: What ``Figure.savefig`` takes.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if not kind:
        kind = figure.canvas.get_default_filetype()
        path = path.with_name(f"{path.name.rstrip('.')}.{kind}")
    buffer = io.BytesIO()
    if kind == "png":
        options["pil_kwargs"] = _PNG
    figure.savefig(buffer, format=kind, **options)
    write_whole(path, buffer.getvalue())


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def cell_text(value: float) -> str:
    """A number for a cell of a table: six digits for a fraction, nothing for NaN."""
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"
