"""Images changed at random for training, every map of one moved together with it."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    Transform,
)

from ..fundus import Fundus

_MAPS = ("label", "fov", "second_label")


@dataclass(frozen=True)
class Augmentation:
    """Which changes are drawn, each time an image is trained on; by default none.

    Calling it changes an image. Vessel masks and field of view move with it; colours
    change in the image alone, and what is black stays black.

    Attributes:
        flip: Mirror left to right and top to bottom, each with probability one half.
        rotate: Turn by 0, 1, 2 or 3 right angles, all as likely.
        brightness: Multiply the image by a number within 1 ± this.
        gamma: Raise the image, between its darkest and its brightest value, to a power drawn evenly
            from 1 ± this.

    Raises:
        ValueError: If `brightness` or `gamma` lies outside [0, 1).

    Example:
        >>> from torchattn_blocks.retina import Augmentation, synthesize
        >>> fundus = synthesize(0, height=64, width=80)
        >>> moved = Augmentation(rotate=True, brightness=0.1)(fundus, seed=3)  # by a right angle
        >>> moved.image.shape, moved.label.shape, bool(moved.label.sum() == fundus.label.sum())
        ((80, 64, 3), (80, 64), True)
    """

    flip: bool = False
    rotate: bool = False
    brightness: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would turn an image black or over."""
        for name in ("brightness", "gamma"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"Augmentation: {name} must lie in [0, 1), got {getattr(self, name)}"
                )

    def __call__(self, fundus: Fundus, seed: int) -> Fundus:
        """Change an image, as a function of `seed`, an int in [0, 2**32)."""
        if self == Augmentation():
            return fundus
        maps = {name: getattr(fundus, name) for name in _MAPS if getattr(fundus, name) is not None}
        sample = {"image": torch.from_numpy(fundus.image).permute(2, 0, 1).float()}
        sample |= {name: torch.from_numpy(values)[None] for name, values in maps.items()}
        moved = self._transform().set_random_state(seed)(sample)
        image = moved["image"].clamp(0, 255).round().byte().permute(1, 2, 0)
        tensors = {name: moved[name][0] for name in maps} | {"image": image}
        arrays: dict[str, Any] = {k: np.ascontiguousarray(x.numpy()) for k, x in tensors.items()}
        return replace(fundus, **arrays)

    def _transform(self) -> Compose:
        everything: tuple[Hashable, ...] = ("image", *_MAPS)
        steps: list[Transform] = []
        if self.flip:
            steps += [RandFlipd(everything, 0.5, axis, allow_missing_keys=True) for axis in (0, 1)]
        if self.rotate:
            # MONAI turns, where it turns, by 1, 2 or 3 right angles.
            steps.append(RandRotate90d(everything, 0.75, max_k=3, allow_missing_keys=True))
        if self.brightness:
            steps.append(RandScaleIntensityd("image", self.brightness, prob=1.0))
        if self.gamma:
            powers = (1 - self.gamma, 1 + self.gamma)
            steps.append(RandAdjustContrastd("image", prob=1.0, gamma=powers))
        return Compose(steps)
