"""Where the files of an image are written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Layout = Literal["names", "folders"]

# What every PNG file ends with.
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class Outputs(NamedTuple):
    """The files that are written.

    Attributes:
        out: The folder.
        layout: ``"names"`` for NAME-vessels.png, ``"folders"`` for vessels/NAME.png.
        kinds: What is written for each image.
    """

    out: Path
    layout: Layout
    kinds: tuple[str, ...]

    def file(self, name: str, kind: str) -> Path:
        """Where a file of an image is written."""
        if self.layout == "folders":
            return self.out / kind / f"{name}.png"
        return self.out / f"{name}-{kind}.png"

    def of(self, name: str) -> Iterator[Path]:
        """All files of an image."""
        return (self.file(name, kind) for kind in self.kinds)

    def are_whole(self, name: str) -> bool:
        """Whether all files of an image are there and whole."""
        try:
            return all(map(_is_whole, self.of(name)))
        except OSError:
            return False


def _is_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-len(_END), os.SEEK_END)
        return file.read() == _END
