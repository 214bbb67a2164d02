"""Files that appear only when they are complete."""

import os
from pathlib import Path


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
    partial = path.with_name(path.name + ".partial")
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
