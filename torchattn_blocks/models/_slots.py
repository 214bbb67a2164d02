"""The slots of a `UNet`: make the modules that fill them, and try each before it is used."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .._factory import made_by
from ..layers.attention.gate import AttentionGate
from ._trial import DoesNotRunError, Shape, shape_made_by
from .skips import Concatenate

Factory = Callable[..., nn.Module]
Sizes = tuple[int, ...]
# Sizes for trying a module: unequal, and one is odd to find modules that need even sizes.
TRIED: dict[int, Sizes] = {1: (7,), 2: (7, 10), 3: (5, 4, 6)}


@dataclass(frozen=True)
class Slots:
    """Makes the modules of a network; raises unless their outputs have the shapes it needs.

    Attributes:
        strides: The stride between each level and the next, one number for each axis.
        image_size: Size of an image. None: each slot is tried on a small feature map.
    """

    strides: tuple[Sizes, ...]
    image_size: Sizes | None

    def stage(
        self, slot: str, factory: Factory | None, channels: int, width: int, level: int
    ) -> nn.Module:
        """Make a stage: it keeps the size and returns `width` channels."""
        size = self._size(level)
        module = self._made(slot, factory, channels, width, level=level)
        shape = 1, channels, *size
        made = self._shape(slot, level, module, shape)
        if made != (1, width, *size):
            must = f"keep the size and return {width} channels"
            raise _refusal(slot, level, f"must {must}, but makes {made} of {shape}")
        return module

    def down(self, factory: Factory, channels: int, level: int) -> tuple[nn.Module, int]:
        """Make the module that leads from a level to the next; also return its channels."""
        larger, smaller = self._step(level)
        stride = self.strides[level]
        module = self._made("down", factory, channels, level=level, stride=stride)
        shape = 1, channels, *larger
        made = self._shape("down", level, module, shape)
        if made[:1] + made[2:] != (1, *smaller):
            must = f"divide the size by the stride {stride}"
            raise _refusal("down", level, f"must {must}, but makes {made} of {shape}")
        return module, made[1]

    def up(self, factory: Factory, channels: int, width: int, level: int) -> tuple[nn.Module, int]:
        """Make the module that leads back to a level from the next; also return its channels."""
        larger, smaller = self._step(level)
        stride = self.strides[level]
        module = self._made("up", factory, channels, width, level=level, stride=stride)
        shape = 1, channels, *smaller
        made = self._shape("up", level, module, shape)
        # One position more than needed, as `transposed` leaves, is cut off.
        if (made[0], len(made)) != (1, len(shape)) or any(
            size - needed not in (0, 1) for size, needed in zip(made[2:], larger, strict=True)
        ):
            must = f"multiply the size by the stride {stride}"
            raise _refusal("up", level, f"must {must}, but makes {made} of {shape}")
        return module, made[1]

    def skip(
        self, factory: Factory, channels: int, skip_channels: int, level: int
    ) -> tuple[nn.Module, int]:
        """Make the module that merges upsampled and encoder features; also return its channels.

        An `AttentionGate` weighs the skip connection, which is then concatenated.
        """
        module = self._made("skip", factory, channels, skip_channels, level=level)
        if isinstance(module, AttentionGate):
            module = Concatenate(module)
        size = self._size(level)
        shapes = (1, channels, *size), (1, skip_channels, *size)
        made = self._shape("skip", level, module, *shapes)
        if made[:1] + made[2:] != (1, *size):
            raise _refusal("skip", level, f"must keep the size, but makes {made} of {_and(shapes)}")
        return module, made[1]

    def _made(
        self, slot: str, factory: Factory | None, *channels: int, **offers: object
    ) -> nn.Module:
        dims = len(self.strides[0])
        return made_by("UNet", slot, factory, *channels, spatial_dims=dims, **offers)

    def _shape(self, slot: str, level: int, module: nn.Module, *shapes: Shape) -> Shape:
        try:
            return shape_made_by(module, *shapes)
        except DoesNotRunError as failure:
            for_one_size = slot not in ("down", "up", "skip") and not self.image_size
            hint = "; give image_size if it takes one size only" if for_one_size else ""
            raise _refusal(
                slot, level, f"must run on {_and(shapes)}, but {failure}{hint}"
            ) from failure.__cause__

    def _size(self, level: int) -> Sizes:
        """The size at a level."""
        if self.image_size is None:
            return TRIED[len(self.strides[0])]
        size = self.image_size
        for strides in self.strides[:level]:
            size = tuple(n // step for n, step in zip(size, strides, strict=True))
        return size

    def _step(self, level: int) -> tuple[Sizes, Sizes]:
        """The sizes at a level and at the next."""
        smaller = self._size(level + 1)
        steps = self.strides[level]
        return tuple(n * step for n, step in zip(smaller, steps, strict=True)), smaller


def _refusal(slot: str, level: int, what: str) -> ValueError:
    return ValueError(f"UNet: {slot} at level {level} {what}")


def _and(shapes: tuple[Shape, ...]) -> str:
    return " and ".join(map(str, shapes))
