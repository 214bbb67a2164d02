"""How a network is trained, as plain data."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from .augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam on binary cross entropy, the rate falling once.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images in a step.
        learning_rate: Adam's rate at first.
        first_part: The fraction of the epochs after which the rate falls to a tenth.
        side: Pad images evenly, with zeros, to squares of this many pixels; None: leave them,
            all of one size, as they are.
        augmentation: How images are changed each time they are trained on.
        seed: Fixes the order of the images, what becomes of them, and what DropBlock drops.
        precision: ``"bf16"`` for mixed precision or ``"no"``; ``"auto"`` takes bfloat16 where the
            machine computes in it.

    Raises:
        ValueError: If a value is out of bounds.

    Example:
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
        """Refuse what cannot be trained."""
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
        """The rate in an epoch, counted from 0."""
        falls = epoch >= round(self.first_part * self.epochs)
        return self.learning_rate / 10 if falls else self.learning_rate

    def resolved_precision(self) -> str:
        """The precision to compute in: `precision`, decided where it is ``"auto"``."""
        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_available():
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "no"
