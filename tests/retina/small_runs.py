"""Small trainings and runs of the program for tests."""

import subprocess
import sys
from functools import cache

import torch

from torchattn_blocks import rsan
from torchattn_blocks.retina import Crops, Fundus, Recipe, synthesize, train

FAST = Recipe(epochs=3, batch_size=2, precision="no")
SMALL_CROPS = Recipe(
    steps=6,
    batch_size=2,
    crops=Crops(side=24),
    schedule="cosine",
    warm_up=0.2,
    weight_decay=0.01,
    max_norm=1.0,
    ramp=0.5,
    average=0.9,
    calibrate=True,
    validate_every=2,
    precision="no",
)


@cache
def drawn(seed: int, height: int, width: int) -> Fundus:
    """What `synthesize` draws, once in a process; for tests that do not change it."""
    return synthesize(seed, height=height, width=width)


def small_rsan(seed=0):
    torch.manual_seed(seed)
    return rsan(widths=(8, 16))


def run(folder, images, recipe=FAST, **options):
    """Train a small network on the first four images, validated on the others."""
    model = small_rsan()
    log = train(model, images[:4], images[4:], recipe, folder, **options)
    return model, log


def equal(a, b):
    return all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())


def run_program(*arguments):
    """Run a command of the library as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", "torchattn_blocks.retina", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
