"""Random numbers that depend on the seed of a training and on a place in it, and on nothing else.

So a training that is stopped and resumed, or that several workers or processes share, draws the
same numbers as one without.
"""

from enum import IntEnum

import numpy as np


class Use(IntEnum):
    """What random numbers are for. Numbers for different uses are independent."""

    ORDER = 1
    EXAMPLE = 2
    DROPOUT = 3


def generator(seed: int, use: Use, *place: int) -> np.random.Generator:
    """A generator for a place in the training: a step and the position in its batch, say."""
    return np.random.default_rng([seed, use, *place])


def torch_seed(seed: int, use: Use, *place: int) -> int:
    """A seed for torch, below 2**63."""
    return int(generator(seed, use, *place).integers(2**63))
