"""Random numbers that depend only on the seed of a training and on a place in it.

So a training draws the same numbers if it is stopped and resumed, or shared by workers or
processes.
"""

from enum import IntEnum

import numpy as np


class Use(IntEnum):
    """The uses of random numbers. Numbers for different uses are independent."""

    ORDER = 1
    EXAMPLE = 2
    DROPOUT = 3


def generator(seed: int, use: Use, *place: int) -> np.random.Generator:
    """A generator for a place in the training, such as a step and the position in its batch."""
    return np.random.default_rng([seed, use, *place])


def torch_seed(seed: int, use: Use, *place: int) -> int:
    """A seed for torch, below 2**63."""
    return int(generator(seed, use, *place).integers(2**63))
