"""Measure the command `segment` from a cold start, and how far tiles are from the whole image.

Printed: for each image, the median seconds and the greatest peak of memory over a few runs; the
greatest difference between the probabilities computed in tiles and at once.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from torchattn_blocks.retina import load_pretrained, synthesize, vessel_probability

RUNS = 3


def run(*arguments: str) -> tuple[float, float]:
    start = time.perf_counter()
    command = [sys.executable, "-m", "torchattn_blocks.retina", "segment", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    # Of all programs run so far: the first image is the smaller one.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return time.perf_counter() - start, peak / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, image in (("565 x 584", synthesize(1).image), ("1411 x 1411", data.retina())):
            path = Path(folder, f"{name}.png")
            Image.fromarray(image).save(path)
            for options in ([], ["--flips"], ["--uncertainty", "20"]):
                runs = [run(str(path), "--out", folder, *options) for _ in range(RUNS)]
                seconds, peak = zip(*runs, strict=True)
                print(
                    f"{name} {' '.join(options)}: {statistics.median(seconds):.1f} s, "
                    f"at most {max(peak):.0f} MiB"
                )
    eyes = [synthesize(seed).image for seed in range(6)]
    large = np.concatenate([np.concatenate(eyes[:3], 1), np.concatenate(eyes[3:], 1)])[:1100, :1500]
    model = load_pretrained("drive").model
    whole, tiles = (vessel_probability(model, large, side) for side in (None, 592))
    print(f"tiles, 1100 x 1500: greatest difference {np.abs(tiles - whole).max():.1e}")


if __name__ == "__main__":
    main()
