"""The input of the training loop."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..data.fov import fov_diameter
from ..data.tensors import (
    ALIKE,
    image_tensor,
    mask_tensor,
    pad_evenly,
    resized_image,
    resized_map,
    scaled_size,
)
from ..fundus import Fundus
from .order import Place
from .recipe import Recipe
from .seeds import Use, generator, torch_seed


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and target tensors, cropped or augmented anew for each step."""

    def __init__(
        self,
        images: Sequence[Fundus],
        recipe: Recipe,
        auxiliary: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        self.recipe = recipe
        self.names = [fundus.name for fundus in images]
        self.images = [prepared(fundus, recipe) for fundus in images]
        self.datasets = [fundus.dataset for fundus in images]
        if auxiliary is not None:
            for fundus, sample in zip(images, self.images, strict=True):
                hint = torch.from_numpy(np.ascontiguousarray(auxiliary[fundus.name])).float()[None]
                sample["hint"] = resized_map(hint, sample["label"].shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (3, H, W) of the images that a network gets; the first one's if they differ."""
        side = self.recipe.side if self.recipe.crops is None else self.recipe.crops.side
        return tuple(self.images[0]["image"].shape) if side is None else (3, side, side)

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor]:
        step, position, number = place
        sample, recipe = self.images[number], self.recipe
        here = recipe.seed, Use.EXAMPLE, step, position
        targets = sample["label"]
        if "hint" in sample:
            targets = torch.cat([targets, sample["hint"]])
        if recipe.crops is not None:
            image, targets = recipe.crops(sample["image"], targets, sample["fov"], generator(*here))
            return image, self._mixed(targets)
        sample = {"image": sample["image"], "label": self._mixed(targets), "fov": sample["fov"]}
        if recipe.augmentation.changes():
            sample = recipe.augmentation.applied(sample, torch_seed(*here) % 2**32)
        return pad_evenly(sample["image"], recipe.side), pad_evenly(sample["label"], recipe.side)

    def _mixed(self, targets: Tensor) -> Tensor:
        """The vessel mask (1, H, W), mixed with an auxiliary target by their shares, if any."""
        mask, hint = targets[:1], targets[1:]
        return torch.lerp(mask, hint, self.recipe.auxiliary) if len(hint) else mask


def scale_of(fundus: Fundus, recipe: Recipe) -> float:
    """The factor by which an image is resized before anything else."""
    if recipe.fov_diameter is None:
        return recipe.input_scale
    scale = recipe.fov_diameter / fov_diameter(fundus.fov)
    return 1.0 if abs(scale - 1) < ALIKE else scale


def prepared(fundus: Fundus, recipe: Recipe) -> dict[str, Tensor]:
    """Image (3, H, W), label (1, H, W) and field of view (1, H, W) as tensors, resized."""
    scale = scale_of(fundus, recipe)
    size = scaled_size(fundus.fov.shape, scale)
    return {
        "image": image_tensor(resized_image(fundus.image, scale)),
        "label": prepared_label(fundus, recipe),
        "fov": resized_map(mask_tensor(fundus.fov), size).round(),
    }


def prepared_label(fundus: Fundus, recipe: Recipe) -> Tensor:
    """The label (1, H, W) as a tensor, resized."""
    size = scaled_size(fundus.fov.shape, scale_of(fundus, recipe))
    return resized_map(mask_tensor(np.asarray(fundus.label)), size)


def check_images(part: str, images: Sequence[Fundus], recipe: Recipe) -> None:
    """Raise unless a recipe can train, or validate, on the images of a part."""
    for fundus in images:
        if not isinstance(fundus, Fundus):
            raise TypeError(
                f"train: {part} must hold Fundus, got {type(fundus).__name__}. Files must be read "
                "first: [files.read() for files in ...]."
            )
        if fundus.label is None:
            raise ValueError(f"train: every {part} image must have a label; missing: {fundus.name}")
        if not fundus.fov.any():
            raise ValueError(f"train: the field of view of {part} image {fundus.name} is empty")
        longest = max(scaled_size(fundus.label.shape, scale_of(fundus, recipe)))
        if recipe.side is not None and recipe.side < longest:
            raise ValueError(
                f"train: recipe.side must be at least {longest}, the longer side of {part} image "
                f"{fundus.name}, got {recipe.side}"
            )
    if not images:
        raise ValueError(f"train: {part} must have at least 1 image, got 0")
    times = Counter(fundus.name for fundus in images)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(
            f"train: {part} images must have different names, got {', '.join(twice)} more than once"
        )
    if part == "training":
        _check_shares({fundus.dataset for fundus in images}, recipe)
        sizes = (scaled_size(fundus.fov.shape, scale_of(fundus, recipe)) for fundus in images)
        _check_sizes({tuple(size) for size in sizes}, recipe)


def check_auxiliary(
    images: Sequence[Fundus],
    recipe: Recipe,
    auxiliary: Mapping[str, NDArray[np.floating]] | None,
) -> None:
    """Raise unless there is an auxiliary target for each image, if the recipe has them."""
    if (auxiliary is not None) != (recipe.auxiliary > 0):
        raise ValueError(
            "train: auxiliary must be given if recipe.auxiliary is above 0, and only then; "
            f"recipe.auxiliary is {recipe.auxiliary}"
        )
    for fundus in images if auxiliary is not None else ():
        hint = (auxiliary or {}).get(fundus.name)
        if hint is None:
            raise ValueError(f"train: auxiliary must have a map of image {fundus.name}")
        if hint.shape != fundus.fov.shape or not (hint.min() >= 0 and hint.max() <= 1):
            raise ValueError(
                f"train: auxiliary map of {fundus.name} must have shape {fundus.fov.shape} and "
                f"values in [0, 1], got shape {hint.shape}, {hint.min()} to {hint.max()}"
            )


def _check_shares(datasets: set[str], recipe: Recipe) -> None:
    """Raise unless the recipe has a share for each data set, if it has shares at all."""
    if recipe.shares is not None and {*recipe.shares} != datasets:
        raise ValueError(
            f"train: recipe.shares must name the data sets of the training images, "
            f"{', '.join(map(repr, sorted(datasets)))}, got {', '.join(map(repr, recipe.shares))}"
        )


def _check_sizes(sizes: set[tuple[int, ...]], recipe: Recipe) -> None:
    """Raise unless whole images of these sizes make batches."""
    if recipe.side is not None or recipe.crops is not None:
        return
    if len(sizes) > 1:
        raise ValueError(
            "train: without recipe.side all training images must have the same size, resized, got "
            f"{sorted(sizes)}"
        )
    if recipe.augmentation.rotate and len(set(*sizes)) > 1:
        raise ValueError(
            "train: with augmentation.rotate, images must be square or recipe.side must be set, "
            f"got images of shape {sizes.pop()}"
        )
