"""The data set of the training loop."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..data.tensors import image_tensor, mask_tensor
from ..fundus import Fundus
from .recipe import Recipe


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label tensors, augmented anew in every epoch.

    Augmentation depends on seed, epoch and index alone, so that a resumed training sees the same
    images as one without interruption.
    """

    def __init__(self, part: str, images: Sequence[Fundus], recipe: Recipe) -> None:
        self.images = images
        self.recipe = recipe
        self.epoch = 0
        _check(part, images, recipe)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        entropy = np.random.SeedSequence([self.recipe.seed, self.epoch, index])
        seed = int(entropy.generate_state(1)[0])
        fundus = self.recipe.augmentation(self.images[index], seed)
        assert fundus.label is not None  # for the type checker: _check has looked
        side = self.recipe.side
        return image_tensor(fundus.image, side), mask_tensor(fundus.label, side)


def _check(part: str, images: Sequence[Fundus], recipe: Recipe) -> None:
    for fundus in images:
        if not isinstance(fundus, Fundus):
            raise TypeError(
                f"train: {part} must hold Fundus, got {type(fundus).__name__}. Files must be read "
                "first: [files.read() for files in ...]."
            )
        if fundus.label is None:
            raise ValueError(f"train: every {part} image must have a label; missing: {fundus.name}")
        if recipe.side is not None and recipe.side < max(fundus.label.shape):
            raise ValueError(
                f"train: recipe.side must be at least {max(fundus.label.shape)}, the longer side "
                f"of {part} image {fundus.name}, got {recipe.side}"
            )
    sizes = {fundus.fov.shape for fundus in images}
    if not images:
        raise ValueError(f"train: {part} must have at least 1 image, got 0")
    if recipe.side is None and len(sizes) > 1:
        raise ValueError(
            f"train: without recipe.side all {part} images must have the same size, got "
            f"{sorted(sizes)}"
        )
    if recipe.side is None and recipe.augmentation.rotate and len(set(*sizes)) > 1:
        raise ValueError(
            "train: with augmentation.rotate, images must be square or recipe.side must be set, "
            f"got images of shape {sizes.pop()}"
        )
