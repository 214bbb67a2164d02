"""Measure what the recipes cost: seconds a step of `train`, and hours for the whole training.

Synthetic images of the data sets' sizes; the time of a validation and of the start cancels out.
Set TORCHATTN_SETTINGS to some rows only: "rsan crops, rsan paper drive".
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    Fundus,
    Network,
    Protocol,
    keep_freed_memory,
    on_crops,
    synthesize,
    train,
)

IMAGES = 18  # of both data sets' training parts
SIZES = {"drive": (584, 565), "chase_db1": (960, 999)}
PROTOCOLS = {"drive": DRIVE_PROTOCOL, "chase_db1": CHASE_DB1_PROTOCOL}
MODELS = ("rsan", "backbone_dropblock", "backbone", "unet")
FEW, MORE = 2, 6


def settings() -> Iterator[tuple[str, str, str, Protocol]]:
    """Title, data set, network and protocol of each row."""
    for dataset, protocol in PROTOCOLS.items():
        for model in MODELS:
            yield f"{model} paper {dataset}", dataset, model, protocol
    yield "rsan crops drive", "drive", "rsan", on_crops(DRIVE_PROTOCOL)


def seconds_for(steps: int, images: list[Fundus], model: str, protocol: Protocol) -> float:
    recipe = replace(protocol.recipe, steps=steps, validate_every=steps, calibrate=False)
    network = Network(model, p=protocol.p).build()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(network, images, images[:1], recipe, folder)
        return time.perf_counter() - start


def main() -> None:
    keep_freed_memory()
    only = os.environ.get("TORCHATTN_SETTINGS", "")
    print(f"{os.cpu_count()} CPU cores, precision {DRIVE_PROTOCOL.recipe.resolved_precision()}")
    print("| network, recipe, data set | seconds a step | steps | hours |\n|---|---:|---:|---:|")
    for title, dataset, model, protocol in settings():
        if only and title not in only:
            continue
        height, width = SIZES[dataset]
        images = [synthesize(seed, height=height, width=width) for seed in range(2)]
        few, more = (seconds_for(n, images, model, protocol) for n in (FEW, MORE))
        step = (more - few) / (MORE - FEW)
        steps = protocol.recipe.steps_for(IMAGES)
        print(f"| {title} | {step:.2f} | {steps:,} | {steps * step / 3600:.1f} |", flush=True)


if __name__ == "__main__":
    main()
