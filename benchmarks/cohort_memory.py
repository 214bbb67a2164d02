"""Measure whether the memory of `segment` stays the same over thousands of images.

The images have many sizes, which is what makes memory fall to pieces. Printed: for each tenth of
the images the greatest memory of the process while they were segmented, and the seconds.

    python benchmarks/cohort_memory.py --images 2000
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from torchattn_blocks.retina import synthesize

PARTS = 10


def draw(folder: Path, count: int) -> None:
    """So many images of 120 to 300 pixels."""
    eyes = [Image.fromarray(synthesize(seed).image) for seed in range(5)]
    chance = np.random.default_rng(0)
    for number in range(count):
        width, height = (int(side) for side in chance.integers(120, 300, 2))
        eyes[number % len(eyes)].resize((width, height)).save(folder / f"{number:05d}.png")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--fov-diameter", type=float, default=100)
    given, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        images, out = Path(place, "images"), Path(place, "out")
        images.mkdir()
        draw(images, given.images)
        command = [sys.executable, "-m", "torchattn_blocks.retina", "segment", images, "--out", out]
        command += ["--fov-diameter", str(given.fov_diameter), *options]
        start = time.perf_counter()
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process, manifest = psutil.Process(program.pid), out / "manifest.csv"
        part, peak = 1, 0
        while program.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            rows = manifest.read_bytes().count(b"\n") - 1 if manifest.exists() else 0
            if rows >= part * given.images / PARTS:
                passed = time.perf_counter() - start
                print(f"{rows} images: {peak / 2**20:.0f} MiB, {passed:.0f} s", flush=True)
                part, peak = part + 1, 0
            time.sleep(0.05)
        if program.wait():
            sys.exit("segment failed")


if __name__ == "__main__":
    main()
