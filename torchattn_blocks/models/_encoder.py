"""An encoder that the user brings: which feature maps it makes, and at which levels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, log, log2
from operator import mul
from typing import Any

from torch import Tensor, nn

from .._check import check_ints, plain
from .._dims import Size, several
from ..layers._eager import has_memory
from ._size import padding, strides_by_level
from ._trial import DoesNotRunError, Shape, output_of

Sizes = tuple[int, ...]
# An image for trying an encoder has sides that can be divided by this number or more.
REACH = {1: 64, 2: 64, 3: 32}


@dataclass(frozen=True)
class Pyramid:
    """The feature maps that an encoder makes from an image.

    Attributes:
        strides: The stride between each level and the next, one number for each axis. Level 0 has
            the size of the image.
        levels: The level of each feature map that the encoder returns. None: it has no channels and
            is left out.
        channels: Channels of the feature maps at each level. 0: the encoder makes none.
    """

    strides: tuple[Sizes, ...]
    levels: tuple[int | None, ...]
    channels: tuple[int, ...]

    def by_level(self, returned: Any, x: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The encoder's feature maps of `x` by level, None where it made none; and the smallest."""
        maps: list[Any] = [None] * len(self.channels)
        found = feature_maps(returned)
        if len(found) != len(self.levels):
            number = f"{len(self.levels)} feature maps, as when the network was built"
            raise ValueError(f"UNet: encoder must return {number}, got {len(found)}")
        for level, features in zip(self.levels, found, strict=True):
            if level is not None:
                maps[level] = features
        if has_memory(x):  # checks would bind a recorded graph to these sizes
            self._check_sizes(maps, tuple(x.shape[2:]))
        return maps[:-1], maps[-1]

    def _check_sizes(self, maps: list[Any], size: Sizes) -> None:
        for features, divided in zip(maps, _passed(self.strides), strict=True):
            expected = tuple(n // step for n, step in zip(size, divided, strict=True))
            if features is not None and tuple(features.shape[2:]) != expected:
                raise ValueError(
                    f"UNet: encoder must divide {size}, the size of the padded images, by "
                    f"{_short(divided)}, got feature maps of {tuple(features.shape[2:])}"
                )


def feature_maps(returned: Any) -> list[Any]:
    """The feature maps that an encoder returns, in its order."""
    return list(returned.values() if isinstance(returned, Mapping) else returned)


def pyramid_of(
    encoder: Any,
    in_channels: int,
    strides: int | Sequence[Size],
    spatial_dims: int,
    image_size: Sizes | None,
) -> Pyramid:
    """Try an encoder and find the levels of its feature maps. Raise if they do not fit."""
    if not isinstance(encoder, nn.Module):
        wanted = "a module that returns feature maps of several sizes"
        raise TypeError(f"UNet: encoder must be {wanted}, got {encoder!r}")
    if several(strides):
        by_level: Any = strides
        given = strides_by_level("UNet", by_level, len(by_level), spatial_dims)
        if not given:
            raise ValueError(f"UNet: strides must have one entry or more, got {strides}")
    else:
        check_ints("UNet", 2, strides=strides)
        step = (plain(strides),) * spatial_dims
        given = (step,) * ceil(log(REACH[spatial_dims], step[0]))
    passed = _passed(given)
    shapes, reductions = _tried(encoder, in_channels, given, image_size)
    made = [shape for shape in shapes if shape[1]]
    if not several(strides) and reductions[-1] in passed:
        given = given[: passed.index(reductions[-1])]
        passed = _passed(given)
    if passed[-1] != reductions[-1] or not set(reductions) <= set(passed):
        divided = ", ".join(map(str, map(_short, reductions)))
        fitting = [_short(step) for step in _steps([passed[0], *reductions])]
        raise ValueError(
            "UNet: strides must lead to the sizes of the encoder's feature maps, the image's "
            f"divided by {divided}, as {fitting} would, got {strides}"
        )
    channels = [0] * len(passed)
    for reduction, shape in zip(reductions, made, strict=True):
        channels[passed.index(reduction)] = shape[1]
    found = iter(reductions)
    levels = [passed.index(next(found)) if shape[1] else None for shape in shapes]
    return Pyramid(given, tuple(levels), tuple(channels))


def _tried(
    encoder: nn.Module, in_channels: int, strides: tuple[Sizes, ...], image_size: Sizes | None
) -> tuple[list[Shape], list[Sizes]]:
    """The shapes of an encoder's feature maps, and the factors by which each reduces the image.

    The image has the requested size. If the encoder cannot divide this size, the image is padded.
    """
    if image_size is None:
        sizes = [_large(_passed(strides)[-1])]
    else:
        added = padding(image_size, strides)
        padded = tuple(n + more for n, more in zip(image_size, added, strict=True))
        sizes = [image_size, padded]
    refusals = []
    for size in sizes:
        try:
            return _reductions(encoder, (1, in_channels, *size))
        except ValueError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _reductions(encoder: nn.Module, shape: Shape) -> tuple[list[Shape], list[Sizes]]:
    shapes, size = _shapes(encoder, shape), shape[2:]
    reductions = [_reduction(one, size, shapes) for one in shapes if one[1]]
    whole = (1,) * len(size)
    if not (
        reductions and reductions[-1] != whole and all(map(_divides_more, pairwise(reductions)))
    ):
        smaller = "smaller and smaller feature maps, and some smaller than the image"
        raise ValueError(f"UNet: encoder must return {smaller}, got {shapes} of {size}")
    return shapes, reductions


def _shapes(encoder: nn.Module, shape: Shape) -> list[Shape]:
    try:
        returned = output_of(encoder, shape)
    except DoesNotRunError as failure:
        hint = f"; it must take in_channels = {shape[1]}, and image_size if it takes one size only"
        raise ValueError(
            f"UNet: encoder must run on {shape}, but {failure}{hint}"
        ) from failure.__cause__
    maps = feature_maps(returned) if isinstance(returned, (Mapping, list, tuple)) else []
    if not maps or not all(isinstance(one, Tensor) and one.dim() == len(shape) for one in maps):
        wanted = f"a list, tuple or dictionary of tensors with {len(shape)} dimensions"
        empty = "an empty " if isinstance(returned, (Mapping, list, tuple)) else ""
        got = [type(one).__name__ for one in maps] or f"{empty}{type(returned).__name__}"
        how = "timm has features_only=True for this, torchvision create_feature_extractor"
        raise ValueError(f"UNet: encoder must return {wanted} ({how}), got {got}")
    return [tuple(one.shape) for one in maps]


def _reduction(shape: Shape, size: Sizes, shapes: list[Shape]) -> Sizes:
    """The divisor of the image's size along each axis."""
    if any(n == 0 or whole % n for n, whole in zip(shape[2:], size, strict=True)):
        ratios = {whole / max(n, 1) for n, whole in zip(shape[1:-1], size, strict=True)}
        last = len(ratios) == 1 and len(size) > 1  # the same along each axis
        hint = ". The channels seem to come last: permute them" if last else ""
        raise ValueError(
            f"UNet: encoder must divide the size of the image, but makes {shapes} of {size}{hint}"
        )
    return tuple(whole // n for n, whole in zip(shape[2:], size, strict=True))


def _divides_more(pair: tuple[Sizes, Sizes]) -> bool:
    """Whether the second of two reductions goes further, along at least one axis."""
    first, second = pair
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def _passed(strides: tuple[Sizes, ...]) -> list[Sizes]:
    """The divisor of the image's size at each level, starting with the image itself."""
    along = [accumulate(steps, mul, initial=1) for steps in zip(*strides, strict=True)]
    return list(zip(*along, strict=True))


def _steps(passed: list[Sizes]) -> Iterator[Sizes]:
    """The factors from each of these to the next, without steps that change nothing."""
    for before, after in pairwise(passed):
        if before != after:
            yield tuple(b // a for a, b in zip(before, after, strict=True))


def _large(divided: Sizes) -> Sizes:
    """Unequal sides that are divisible by these numbers, and then by 2 several more times."""
    least = REACH[len(divided)]
    powers = [max(0, ceil(log2(least / n))) for n in divided]
    return tuple(
        n * 2**power * (2 + axis % 2)
        for axis, (n, power) in enumerate(zip(divided, powers, strict=True))
    )


def _short(reduction: Sizes) -> int | Sizes:
    return reduction[0] if len(set(reduction)) == 1 else reduction
