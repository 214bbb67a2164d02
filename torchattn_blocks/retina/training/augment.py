"""Random changes of training images; vessel masks and field of view move with the image."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..._check import check_kind, check_numbers, make_plain
from ..fundus import Fundus

if TYPE_CHECKING:
    from monai.transforms import Compose, Transform

_MASKS = ("label", "fov", "second_label")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of an image, drawn anew each time it is trained on; by default none.

    Vessel masks and field of view are flipped and rotated with the image. Black pixels stay black.

    Attributes:
        flip: Flip left to right and top to bottom, each with probability 0.5.
        rotate: Rotate by 0, 90, 180 or 270 degrees with equal probability.
        brightness: Multiply the image by a factor drawn uniformly from [1 - brightness, 1 +
            brightness].
        gamma: Gamma correction with an exponent drawn uniformly from [1 - gamma, 1 + gamma]. For
            it, the image is scaled from its own minimum and maximum to [0, 1], and back afterwards.

    Raises:
        TypeError: If `flip` or `rotate` is not a bool, or `brightness` or `gamma` not a number.
        ValueError: If `brightness` or `gamma` lies outside [0, 1).

    Example:
        >>> from torchattn_blocks.retina import Augmentation, synthesize
        >>> fundus = synthesize(0, height=64, width=80)
        >>> moved = Augmentation(rotate=True, brightness=0.1)(fundus, seed=3)  # by 90 degrees
        >>> moved.image.shape, moved.label.shape, bool(moved.label.sum() == fundus.label.sum())
        ((80, 64, 3), (80, 64), True)
    """

    flip: bool = False
    rotate: bool = False
    brightness: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments: factors and powers must stay positive."""
        make_plain(self)
        check_kind("Augmentation", bool, flip=self.flip, rotate=self.rotate)
        check_numbers("Augmentation", 0, 1, ends="[)", brightness=self.brightness, gamma=self.gamma)

    def __call__(self, fundus: Fundus, seed: int) -> Fundus:
        """Change an image as a training changes its tensors, to see what a training sees.

        Args:
            fundus: The image.
            seed: Seed of the changes, an int in [0, 2**32).
        """
        if not self.changes():
            return fundus
        masks = {
            name: getattr(fundus, name) for name in _MASKS if getattr(fundus, name) is not None
        }
        sample = {"image": torch.from_numpy(fundus.image).permute(2, 0, 1).float() / 255}
        sample |= {name: torch.from_numpy(values)[None] for name, values in masks.items()}
        moved = self.applied(sample, seed)
        image = (255 * moved["image"]).round().byte().permute(1, 2, 0)
        tensors = {name: moved[name][0] for name in masks} | {"image": image}
        arrays: dict[str, Any] = {k: np.ascontiguousarray(x.numpy()) for k, x in tensors.items()}
        return replace(fundus, **arrays)

    def changes(self) -> bool:
        """Whether it changes anything."""
        return self != Augmentation()

    def applied(self, sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Change an image, values between 0 and 1 of shape (3, H, W), and masks of (1, H, W)."""
        moved = self._transform().set_random_state(seed)(sample)
        plain = {name: moved[name].as_subclass(Tensor) for name in sample}  # not MONAI's
        return plain | {"image": plain["image"].clamp(0, 1)}

    def _transform(self) -> "Compose":
        from monai.transforms import (  # here: it takes as long to load as torch
            Compose,
            RandAdjustContrastd,
            RandFlipd,
            RandRotate90d,
            RandScaleIntensityd,
        )

        everything: tuple[Hashable, ...] = ("image", *_MASKS)
        steps: list[Transform] = []
        if self.flip:
            steps += [RandFlipd(everything, 0.5, axis, allow_missing_keys=True) for axis in (0, 1)]
        if self.rotate:
            # With probability 0.75, MONAI rotates by 1, 2 or 3 right angles.
            steps.append(RandRotate90d(everything, 0.75, max_k=3, allow_missing_keys=True))
        if self.brightness:
            steps.append(RandScaleIntensityd("image", self.brightness, prob=1.0))
        if self.gamma:
            powers = (1 - self.gamma, 1 + self.gamma)
            steps.append(RandAdjustContrastd("image", prob=1.0, gamma=powers))
        return Compose(steps)
