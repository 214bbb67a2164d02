"""The progress bar of commands."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def image_bar(total: int, images: Iterable[Any] | None = None) -> "Iterator[tqdm[Any]]":
    """Show a progress bar for so many images; warnings get separate lines above it.

    Args:
        total: How many images there are.
        images: What a loop over the bar yields. None: call ``update()`` to move the bar.
    """
    from tqdm import tqdm

    def show(message: Warning | str, category: type[Warning], *where: Any, **_: Any) -> None:
        said = warnings.formatwarning(message, category, *where[:2])
        tqdm.write(said, file=sys.stderr, end="")

    with warnings.catch_warnings(), tqdm(images, total=total, unit="image") as bar:
        warnings.showwarning = show
        yield bar
