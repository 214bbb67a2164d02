"""In which order a training sees its images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .recipe import Recipe
from .seeds import Use, generator

Place = tuple[int, int, int]  # of an example: step, position in its batch, number of the image


class Batches(Sampler[list[Place]]):
    """The examples that one process trains on, for each step from `start` on.

    Images are shuffled anew for each pass over them. A pass over whole images ends with an
    incomplete batch if they do not divide evenly; crops go on with the next pass. With
    ``recipe.shares`` each data set has its own passes, and their crops alternate.

    Args:
        images: How many images there are.
        recipe: The recipe.
        start: The first step.
        steps: Number of steps of the training.
        process: Number of this process.
        processes: How many processes share each batch. If they cannot share an incomplete batch
            evenly, it is filled up with images of the same pass.
        datasets: The data set of each image, for ``recipe.shares``.
    """

    def __init__(
        self,
        images: int,
        recipe: Recipe,
        start: int,
        steps: int,
        process: int,
        processes: int,
        datasets: Sequence[str] = (),
    ) -> None:
        self.images = images
        self.recipe = recipe
        self.range = range(start, steps)
        self.process = process
        self.processes = processes
        self.datasets = datasets

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[Place]]:
        for step in self.range:
            places = [(step, position, n) for position, n in enumerate(self.of_step(step))]
            yield places[self.process :: self.processes]

    def of_step(self, step: int) -> list[int]:
        """The numbers of the images of a step, in all processes."""
        size = self.recipe.batch_size
        if self.recipe.shares is not None:
            return self._shared[step * size : (step + 1) * size].tolist()
        if self.recipe.crops is not None:
            return [self._order(*divmod(step * size + i, self.images)) for i in range(size)]
        turn, part = divmod(step, self.recipe.steps_in_a_pass(self.images))
        count = min(size, self.images - part * size)
        count += -count % self.processes
        return [self._order(turn, (part * size + i) % self.images) for i in range(count)]

    @cached_property
    def _shared(self) -> NDArray[np.int64]:
        """The number of the image of every crop, with shares."""
        crops = self.range.stop * self.recipe.batch_size
        return _alternating(self.recipe.seed, self.datasets, self.recipe.shares or {}, crops)

    def _order(self, turn: int, position: int) -> int:
        """The number of the image at a position of a pass."""
        return _shuffled(self.recipe.seed, turn, self.images)[position]


@lru_cache(maxsize=2)
def _shuffled(seed: int, turn: int, images: int) -> list[int]:
    return generator(seed, Use.ORDER, turn).permutation(images).tolist()


def _alternating(
    seed: int, datasets: Sequence[str], shares: Mapping[str, float], crops: int
) -> NDArray[np.int64]:
    """Numbers of images, such that after any number of crops each data set has had its share."""
    times, numbers = [], []
    whole = sum(shares.values())
    for place, (name, share) in enumerate(shares.items()):
        members = np.flatnonzero([dataset == name for dataset in datasets])
        count = math.ceil(crops * share / whole) + 1
        turns = range(math.ceil(count / len(members)))
        orders = [generator(seed, Use.ORDER, place, turn).permutation(members) for turn in turns]
        numbers.append(np.concatenate(orders)[:count])
        times.append((np.arange(count) + 0.5) * whole / share)  # evenly spaced
    first = np.concatenate(times).argsort(kind="stable")[:crops]
    return np.concatenate(numbers)[first]
