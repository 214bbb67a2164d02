"""The options of a training, as plain data."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from .augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: with Adam on binary cross entropy.

    Attributes:
        epochs: Number of passes over the training images, at least 1.
        batch_size: Images per step, at least 1.
        learning_rate: Adam's learning rate at the start, above 0.
        first_part: Fraction of the epochs, 0 to 1, after which the learning rate falls to a tenth.
        side: Pad images with zeros around them to squares of `side` x `side` pixels. None: no
            padding; then all images must have the same size.
        augmentation: Random changes of the training images.
        seed: Seed of the order of images, of augmentation and of DropBlock, in [0, 2**32).
        precision: ``"bf16"`` for mixed precision, ``"no"`` for float32, ``"auto"`` for mixed
            precision if the machine has instructions for bfloat16.

    Raises:
        ValueError: If an attribute is outside the bounds above.

    Example:
        >>> from torchattn_blocks.retina import Recipe
        >>> recipe = Recipe(epochs=200, first_part=0.75)
        >>> recipe.learning_rate_at(149), recipe.learning_rate_at(150)
        (0.001, 0.0001)
    """

    epochs: int = 200
    batch_size: int = 2
    learning_rate: float = 1e-3
    first_part: float = 0.75
    side: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: Literal["auto", "bf16", "no"] = "auto"

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"Recipe: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"Recipe: seed must lie in [0, 2**32), got {self.seed}")
        if not self.learning_rate > 0:
            raise ValueError(f"Recipe: learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.first_part <= 1:
            raise ValueError(f"Recipe: first_part must lie in [0, 1], got {self.first_part}")
        if self.precision not in ("auto", "bf16", "no"):
            raise ValueError(
                f'Recipe: precision must be "auto", "bf16" or "no", got {self.precision!r}'
            )

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        falls = epoch >= round(self.first_part * self.epochs)
        return self.learning_rate / 10 if falls else self.learning_rate

    def resolved_precision(self) -> str:
        """The precision of this machine: ``"bf16"`` or ``"no"``."""
        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_available():
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "no"
