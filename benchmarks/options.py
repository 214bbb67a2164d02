"""What each option of a training costs: a crop with each change, a step, a validation.

    python benchmarks/options.py

Synthetic images of DRIVE's size. Settings take turns, round by round; printed are medians and, for
steps, medians of the ratio to the plain step of the same round. Three to four minutes on two
cores.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from torchattn_blocks.retina import (
    CAMERAS_RECIPE,
    CROPS_RECIPE,
    Crops,
    Fundus,
    Network,
    Recipe,
    keep_freed_memory,
    synthesize,
    train,
)
from torchattn_blocks.retina.training import validation
from torchattn_blocks.retina.training.examples import prepared
from torchattn_blocks.retina.training.losses import fastest_layout

_SIZE = 584, 565
_CHANGES = ("contrast", "light", "vignette", "reflex", "blur", "noise", "jpeg")
_FEW, _MORE = 1, 6  # steps; what a training costs besides cancels out


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each call in each round."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            spent = seconds(call)
            if number:  # the first fills caches
                taken[name].append(spent)
    return taken


def print_crops(fundus: Fundus) -> None:
    sample = prepared(fundus, CROPS_RECIPE)
    maps = sample["image"], sample["label"], sample["fov"]
    plain, cameras = CROPS_RECIPE.crops or Crops(), CAMERAS_RECIPE.crops or Crops()
    drawn = {"as in `crops`": plain}
    drawn |= {name: replace(plain, **{name: getattr(cameras, name)}) for name in _CHANGES}
    drawn |= {"zoom to one half": replace(plain, free=1.0, zoom=(0.5, 0.5))}
    drawn |= {"as in `cameras`": cameras}

    def draw(crops: Crops) -> Callable[[], object]:
        return lambda: [crops(*maps, np.random.default_rng(seed)) for seed in range(8)]

    taken = in_turns({name: draw(crops) for name, crops in drawn.items()}, 5)
    print("\n| a crop of 256 x 256 | milliseconds |\n|---|---:|")
    for name, times in taken.items():
        print(f"| {name} | {1000 * statistics.median(times) / 8:.1f} |")


def print_steps(images: list[Fundus]) -> None:
    def trained(recipe: Recipe, steps: int, freeze: tuple[str, ...] = (), **how: object) -> None:
        model = Network("rsan", p=0.05).build()
        for name in freeze:
            model.get_submodule(name).requires_grad_(False)
        recipe = replace(recipe, steps=steps, validate_every=steps, calibrate=False)
        with tempfile.TemporaryDirectory() as folder:
            train(model, images, images[:1], recipe, folder, **how)

    settings: dict[str, tuple[Recipe, dict[str, object]]] = {
        "`crops`": (CROPS_RECIPE, {}),
        "`cameras`": (CAMERAS_RECIPE, {}),
        "`crops`, shares": (replace(CROPS_RECIPE, shares={"": 1.0}), {}),
        "`crops`, encoders and bottleneck frozen": (
            CROPS_RECIPE,
            {"freeze": ("encoders", "bottleneck")},
        ),
        "`crops`, TensorBoard": (CROPS_RECIPE, {"log_with": ["tensorboard"]}),
    }
    calls = {}
    for name, (recipe, options) in settings.items():
        for steps in (_FEW, _MORE):
            calls[f"{name}/{steps}"] = lambda r=recipe, s=steps, o=options: trained(r, s, **o)
    taken = in_turns(calls, 5)
    per = {
        name: [
            (more - few) / (_MORE - _FEW)
            for few, more in zip(taken[f"{name}/{_FEW}"], taken[f"{name}/{_MORE}"], strict=True)
        ]
        for name in settings
    }
    plain = per["`crops`"]
    print("\n| a step of RSAN, 4 crops | seconds | of the plain step |\n|---|---:|---:|")
    for name, times in per.items():
        ratio = statistics.median(t / p for t, p in zip(times, plain, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.2f} |")


def print_validation(images: list[Fundus]) -> None:
    model = Network("rsan").build()
    recipe = replace(CROPS_RECIPE, precision="no")
    validate = validation.Validation(images, [], recipe)
    layout = fastest_layout(torch.device("cpu"))

    def forward() -> None:
        with torch.no_grad():
            for sample in validate.samples:
                model.eval()(sample["image"][None].contiguous(memory_format=layout))

    choosing = validation.Validation(images, images[:1] * 10, recipe)
    calls = {
        "network alone": forward,
        "all": lambda: validate(model, layout),
        "choosing": lambda: choosing(model, layout),
    }
    alone, everything, more = (statistics.median(times) for times in in_turns(calls, 3).values())
    print("\n| a validation of 2 images | seconds |\n|---|---:|")
    print(f"| the network's passes | {alone:.2f} |")
    print(f"| with loss, threshold and scores | {everything:.2f} |")
    print(f"| and ten training images to choose the threshold | {more:.2f} |")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep_freed_memory()
    images = [synthesize(seed, height=_SIZE[0], width=_SIZE[1]) for seed in range(2)]
    print(f"{torch.get_num_threads()} threads, {Path(__file__).name}")
    print_crops(images[0])
    print_steps(images)
    print_validation(images)


if __name__ == "__main__":
    main()
