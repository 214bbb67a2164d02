"""How a training handles the sizes of its images."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from ..data.fov import fov_diameter
from ..data.tensors import padded_side, scaled_size
from ..fundus import Fundus
from ..training.examples import scale_of
from ..training.recipe import Recipe

_DIFFERENT = 1.1  # ratio of diameters from which vessels look different


def sizes_of(images: Sequence[Fundus], recipe: Recipe) -> Iterator[str]:
    """A line for each data set: how wide its fields of view are, and how images are resized."""
    shares, sets = recipe.shares or {}, dict[str, list[Fundus]]()
    for fundus in images:
        sets.setdefault(fundus.dataset, []).append(fundus)
    middles = []
    for name, members in sets.items():
        diameters = [fov_diameter(fundus.fov) for fundus in members]
        middles.append(median(diameters))
        scales = [scale_of(fundus, recipe) for fundus in members]
        how = f"resized by {_range(scales, '.2f')}" if {*scales} != {1.0} else "not resized"
        wide = _range(diameters, ".0f")
        share = f", share {shares[name]:g} of the crops" if name in shares else ""
        yield f"{name}: {len(members)} images, field of view {wide} pixels wide, {how}{share}"
    if recipe.fov_diameter is None and max(middles) > _DIFFERENT * min(middles):
        yield (
            "The data sets have vessels of different width in pixels. --fov-diameter "
            f"{min(middles):.0f} resizes all images to one diameter."
        )


def padded(recipe: Recipe, side: int | None, images: Sequence[Fundus]) -> Recipe:
    """The recipe, with a padding that fits its resized images if it pads.

    Args:
        recipe: The recipe.
        side: The side to which images of these data sets are padded if they are not resized.
        images: The images that the padding must hold.
    """
    if recipe.side is None:
        return recipe
    longest = max(max(scaled_size(one.fov.shape, scale_of(one, recipe))) for one in images)
    wanted = (side or 0) * recipe.input_scale
    if recipe.fov_diameter is not None or wanted < longest:
        wanted = longest
    return replace(recipe, side=padded_side(wanted))


def _range(numbers: Sequence[float], form: str) -> str:
    low, high = (format(number, form) for number in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"
