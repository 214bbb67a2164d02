"""Folders that commands write to."""

import os
from pathlib import Path


def check_folder(option: str, path: Path) -> None:
    """Check that a command can write to a folder, which need not exist yet. Nothing is created.

    Args:
        option: The option that names the folder, such as ``"--out"``.
        path: The folder.

    Raises:
        ValueError: If `path` is a file or lies below one, or if writing to it is not allowed.

    Example:
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.commands._folder import check_folder
        >>> check_folder("--out", Path("runs/train"))
    """
    for place in (path, *path.parents):
        which = "which" if place == path else f"but {place}"
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK):
                raise ValueError(f"{option} must be writable, got {path}, {which} is not")
            return
        if place.exists():
            raise ValueError(f"{option} must be a folder, got {path}, {which} is a file")
