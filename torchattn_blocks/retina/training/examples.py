"""Images as the training loop takes them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..data.tensors import image_tensor, map_tensor
from ..fundus import Fundus
from .recipe import Recipe


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Images as a network takes them, changed anew in every epoch, by epoch and place alone.

    That makes a resumed run see what an uninterrupted one sees.
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
        return image_tensor(fundus.image, side), map_tensor(fundus.label, side)


def _check(part: str, images: Sequence[Fundus], recipe: Recipe) -> None:
    for fundus in images:
        if fundus.label is None:
            raise ValueError(f"train: image {fundus.name} of {part} has no label")
        if recipe.side is not None and recipe.side < max(fundus.label.shape):
            raise ValueError(
                f"train: side must be at least that of every image, got {recipe.side}; "
                f"{fundus.name} of {part} has shape {fundus.label.shape}"
            )
    sizes = {fundus.fov.shape for fundus in images}
    if not sizes or (recipe.side is None and len(sizes) > 1):
        raise ValueError(
            f"train: {part} must hold images of one size, or the recipe give a side to pad "
            f"them to; got {sorted(sizes) or 'none'}"
        )
    if recipe.side is None and recipe.augmentation.rotate and len(set(*sizes)) > 1:
        raise ValueError(
            "train: images that are rotated must be square, or the recipe give a side to pad "
            f"them to; got {sizes.pop()}"
        )
