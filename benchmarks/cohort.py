"""What makes `segment` fast on many images: each measure by itself, and all together.

Printed: for each way, the median over rounds of the seconds an image and of the time of the first
way in the same round divided by it; how far probabilities are from those of the first way (of
65535), and how many pixels of the vessel masks differ. Each round runs each way in a process of its
own, and times it when it is warm.

    python benchmarks/cohort.py --images 10 --rounds 3
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from torchattn_blocks import PreActResidual
from torchattn_blocks.retina import (
    FundusFiles,
    Trained,
    fov_remark,
    keep_freed_memory,
    load_pretrained,
    overlay,
    segment,
    synthesize,
)
from torchattn_blocks.retina.allocator import share_freed_memory
from torchattn_blocks.retina.cohort.images import CohortImage
from torchattn_blocks.retina.cohort.options import Options
from torchattn_blocks.retina.cohort.segmenter import segment_images
from torchattn_blocks.retina.data.predictions import save_prediction
from torchattn_blocks.retina.weights import weights_file
from torchattn_blocks.retina.write import write_png

WAYS = {
    "before": "one image at a time, all cores",
    "channels_last": "the same, channels last",
    "memory": "the same, freed memory kept",
    "norms": "the same, norms folded into convolutions",
    "onnx": "the same in onnxruntime",
    "processes": "an image on each core, in processes",
    "threads": "an image on each core, in threads",
    "jobs": "`segment --jobs`, with a process for each core",
    "segment": "`segment`",
}


def in_channels_last(trained: Trained) -> Trained:
    return trained._replace(model=trained.model.to(memory_format=torch.channels_last))


def with_norms_folded(trained: Trained) -> Trained:
    """Each norm that follows a convolution becomes part of it; DropBlock between is no obstacle."""
    for block in trained.model.modules():
        if isinstance(block, PreActResidual):
            block.conv1 = nn.utils.fuse_conv_bn_eval(block.conv1, block.norm2)
            block.norm2 = nn.Identity()
    return trained


class InOnnxruntime(nn.Module):
    """A network that onnxruntime computes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
            program = torch.onnx.export(
                model,
                (torch.rand(1, 3, 592, 584),),
                dynamic_shapes=(sides,),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.save(path)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self.session = onnxruntime.InferenceSession(path, options)

    def forward(self, x: Tensor) -> Tensor:
        [name] = (one.name for one in self.session.get_inputs())
        [logits] = self.session.run(None, {name: x.numpy()})
        return torch.from_numpy(logits)


CHANGES: dict[str, Callable[[Trained], Trained]] = {
    "channels_last": in_channels_last,
    "norms": with_norms_folded,
    "onnx": lambda trained: trained._replace(model=InOnnxruntime(trained.model)),
}


def segmented(path: Path, out: Path, trained: Trained) -> None:
    """What `segment` does with an image, from reading it to writing its files."""
    fundus = FundusFiles(path.stem, path, None, None, None).read()
    probability = segment(fundus.image, trained, fov=fundus.fov) * fundus.fov
    fov_remark(fundus.image, fundus.fov)
    vessels = probability > 0.5
    save_prediction(out / f"{path.stem}-probability.png", probability)
    write_png(out / f"{path.stem}-vessels.png", vessels)
    write_png(out / f"{path.stem}-fov.png", fundus.fov)
    write_png(out / f"{path.stem}-overlay.png", overlay(fundus.image, vessels, fundus.fov))


_own: dict[str, Trained] = {}  # of a process


def in_a_process(path: Path, out: Path) -> None:
    torch.set_num_threads(1)
    if not _own:
        _own["drive"] = load_pretrained("drive")
    segmented(path, out, _own["drive"])


def by_the_command(path: Path, options: Options) -> None:
    segment_images(options, options.number(), [CohortImage(path.stem, path)])


def seconds(way: str, paths: list[Path], out: Path) -> float:
    """The seconds an image of one way."""
    cores = torch.get_num_threads()
    if way == "memory":
        keep_freed_memory()
    if way in ("segment", "jobs"):
        options = Options(weights_file("drive"), out, one_thread=True)
        do, second = by_the_command, [options] * len(paths)
        if way == "segment":
            keep_freed_memory()
            share_freed_memory()
    elif way == "processes":
        do, second = in_a_process, [out] * len(paths)
    else:
        trained = CHANGES.get(way, lambda same: same)(load_pretrained("drive"))
        if way == "threads":
            torch.set_num_threads(1)
        do, second = (lambda path, out: segmented(path, out, trained)), [out] * len(paths)
    pool = ThreadPoolExecutor(cores if way in ("threads", "segment") else 1)
    if way in ("processes", "jobs"):
        pool = ProcessPoolExecutor(cores, get_context("spawn"))
    with pool:
        list(pool.map(do, paths[: 2 * cores], second))
        start = time.perf_counter()
        list(pool.map(do, paths, second))
        return (time.perf_counter() - start) / len(paths)


def compared(one: Path, other: Path) -> tuple[int, int]:
    """The greatest difference of probabilities, of 65535, and how many mask pixels differ."""
    far, pixels = 0, 0
    for path in one.glob("*-probability.png"):
        here, there = (np.asarray(Image.open(out / path.name)).astype(int) for out in (one, other))
        far = max(far, int(np.abs(here - there).max()))
        name = path.name.replace("probability", "vessels")
        masks = (np.asarray(Image.open(out / name)) for out in (one, other))
        pixels += int(np.not_equal(*masks).sum())
    return far, pixels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, images, out = given.child
        print(json.dumps(seconds(way, sorted(Path(images).iterdir()), Path(out))))
        return
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        for seed in range(given.images):
            Image.fromarray(synthesize(seed).image).save(images / f"{seed}.png")
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way in WAYS:
                out = Path(folder, way)
                out.mkdir(exist_ok=True)
                command = [sys.executable, __file__, "--child", way, images, out]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                taken[way].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{way}: {taken[way][-1]:.2f} s", file=sys.stderr)
        print(f"{torch.get_num_threads()} cores, {given.images} images of 584 x 565 pixels")
        print("| way | s an image | times as fast | of 65535 | mask pixels |")
        print("|---|---:|---:|---:|---:|")
        for way, title in WAYS.items():
            ratios = [a / b for a, b in zip(taken["before"], taken[way], strict=True)]
            far, pixels = compared(Path(folder, "before"), Path(folder, way))
            typical = statistics.median(taken[way])
            print(
                f"| {title} | {typical:.2f} | {statistics.median(ratios):.2f} | {far} | {pixels} |"
            )


if __name__ == "__main__":
    main()
