"""The images that two sets have in common."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from .folders import by_image
from .search import EXTENSION


class _Image(NamedTuple):
    """An image of a set, and how errors call it."""

    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} in {self.source}"


def stem_of(name: str) -> str:
    """The name of an image without its ending, if it ends like an image file.

    Example:
        >>> from torchattn_blocks.retina.data.pairs import stem_of
        >>> stem_of("test/07.png"), stem_of("im0001.ah")
        ('test/07', 'im0001.ah')
    """
    return re.sub(f"{EXTENSION}$", "", name.strip(), flags=re.IGNORECASE)


def pair_images(
    first: Iterable[str], second: Iterable[str], sources: tuple[str, str]
) -> list[tuple[str, str]]:
    """Pair the images of two sets by their names, in any case and with any ending.

    If any two stems are equal, only equal stems make a pair. Otherwise images are paired like masks
    and images in folders: if one stem starts with the other, or by their numbers.

    Args:
        first: Names of the images of the first set.
        second: Names of the images of the second set.
        sources: Names of the two sets in errors.

    Returns:
        The pairs, in the order of `first`. Images without a partner are left out.

    Raises:
        ValueError: If two images of a set have the same stem, or no stems are equal and an image
            fits several of the other set.

    Example:
        >>> from torchattn_blocks.retina.data.pairs import pair_images
        >>> pair_images(["21_manual1", "22_manual1"], ["22_training"], ("a", "b"))
        [('22_manual1', '22_training')]
    """
    ones, others = (
        _by_stem(names, source) for names, source in zip((first, second), sources, strict=True)
    )
    found = {stem: others[stem] for stem in ones if stem in others}
    if not found:
        owned = by_image(others, ones)
        found = {stem: owned[stem] for stem in ones if stem in owned}
        taken = set(found.values())
        # The longer stem may be in either set.
        left = {stem: image for stem, image in others.items() if image not in taken}
        bare = {stem: image for stem, image in ones.items() if stem not in found}
        turned = by_image(bare, left)
        found |= {
            stem_of(turned[stem].name).casefold(): left[stem] for stem in left if stem in turned
        }
    return [(ones[stem].name, found[stem].name) for stem in ones if stem in found]


def _by_stem(names: Iterable[str], source: str) -> dict[str, _Image]:
    """The images of a set by their stems, in any case."""
    found: dict[str, _Image] = {}
    for name in names:
        stem = stem_of(name).casefold()
        if stem in found:
            raise ValueError(
                f"{source}: {found[stem].name} and {name} have the same name. Remove or rename one."
            )
        found[stem] = _Image(name, source)
    return found
