"""What the training loop is fed with."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..data.tensors import (
    image_tensor,
    mask_tensor,
    pad_evenly,
    resized_image,
    resized_map,
    scaled_size,
)
from ..fundus import Fundus
from .recipe import Recipe
from .seeds import Use, generator, torch_seed

Place = tuple[int, int, int]  # of an example: step, position in its batch, number of the image


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
        self.images = [prepared(fundus, recipe.input_scale) for fundus in images]
        if auxiliary is not None:
            for fundus, sample in zip(images, self.images, strict=True):
                hint = torch.from_numpy(np.ascontiguousarray(auxiliary[fundus.name])).float()[None]
                hint = resized_map(hint, sample["label"].shape[1:])
                sample["label"] = torch.lerp(sample["label"], hint, recipe.auxiliary)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (3, H, W) of images that a network is given, of the first if they differ."""
        side = self.recipe.side if self.recipe.crops is None else self.recipe.crops.side
        return tuple(self.images[0]["image"].shape) if side is None else (3, side, side)

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor]:
        step, position, number = place
        sample, recipe = self.images[number], self.recipe
        here = recipe.seed, Use.EXAMPLE, step, position
        if recipe.crops is not None:
            maps = sample["image"], sample["label"], sample["fov"]
            return recipe.crops(*maps, generator(*here))
        if recipe.augmentation.changes():
            sample = recipe.augmentation.applied(sample, torch_seed(*here) % 2**32)
        return pad_evenly(sample["image"], recipe.side), pad_evenly(sample["label"], recipe.side)


def prepared(fundus: Fundus, scale: float) -> dict[str, Tensor]:
    """Image (3, H, W), label (1, H, W) and field of view (1, H, W) as tensors, resized."""
    size = scaled_size(fundus.fov.shape, scale)
    return {
        "image": image_tensor(resized_image(fundus.image, scale)),
        "label": prepared_label(fundus, scale),
        "fov": resized_map(mask_tensor(fundus.fov), size).round(),
    }


def prepared_label(fundus: Fundus, scale: float) -> Tensor:
    """The label (1, H, W) as a tensor, resized."""
    size = scaled_size(fundus.fov.shape, scale)
    return resized_map(mask_tensor(np.asarray(fundus.label)), size)


class Batches(Sampler[list[Place]]):
    """The examples of each step from `start` on that one process trains on.

    Images are shuffled anew for each pass over them. A pass over whole images ends with an
    incomplete batch if they do not divide evenly; crops go on with the next pass.

    Args:
        images: How many images there are.
        recipe: The recipe.
        start: The first step.
        steps: Number of steps of the training.
        process: Number of this process.
        processes: How many processes share each batch. An incomplete batch that they cannot share
            evenly is filled up with images of the same pass.
    """

    def __init__(
        self, images: int, recipe: Recipe, start: int, steps: int, process: int, processes: int
    ) -> None:
        self.images = images
        self.recipe = recipe
        self.range = range(start, steps)
        self.process = process
        self.processes = processes

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[Place]]:
        for step in self.range:
            places = [(step, position, n) for position, n in enumerate(self.of_step(step))]
            yield places[self.process :: self.processes]

    def of_step(self, step: int) -> list[int]:
        """The numbers of the images of a step, in all processes."""
        size = self.recipe.batch_size
        if self.recipe.crops is not None:
            return [self._order(*divmod(step * size + i, self.images)) for i in range(size)]
        turn, part = divmod(step, self.recipe.steps_in_a_pass(self.images))
        count = min(size, self.images - part * size)
        count += -count % self.processes
        return [self._order(turn, (part * size + i) % self.images) for i in range(count)]

    def _order(self, turn: int, position: int) -> int:
        """The number of the image at a position of a pass."""
        return _shuffled(self.recipe.seed, turn, self.images)[position]


@lru_cache(maxsize=2)
def _shuffled(seed: int, turn: int, images: int) -> list[int]:
    return generator(seed, Use.ORDER, turn).permutation(images).tolist()


def check_images(part: str, images: Sequence[Fundus], recipe: Recipe) -> None:
    """Raise unless the images of a part can be trained on, or validated, by a recipe."""
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
        longest = max(scaled_size(fundus.label.shape, recipe.input_scale))
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
        _check_sizes({fundus.fov.shape for fundus in images}, recipe)


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


def _check_sizes(sizes: set[tuple[int, ...]], recipe: Recipe) -> None:
    """Raise unless whole images of these sizes make batches."""
    if recipe.side is not None or recipe.crops is not None:
        return
    if len(sizes) > 1:
        raise ValueError(
            "train: without recipe.side all training images must have the same size, got "
            f"{sorted(sizes)}"
        )
    if recipe.augmentation.rotate and len(set(*sizes)) > 1:
        raise ValueError(
            "train: with augmentation.rotate, images must be square or recipe.side must be set, "
            f"got images of shape {sizes.pop()}"
        )
