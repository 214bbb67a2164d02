"""What the commands `evaluate` and `segment` cost, beside another checkout.

git worktree add ../earlier COMMIT
python benchmarks/evaluation.py ../earlier [--drive path/to/DRIVE] [--rounds 5] [--large 5 10 20]

The first table has CPU seconds of one thread, start and loading included. Each round runs both
checkouts in turn, in processes of their own; a row has medians over rounds, and the median of the
ratios of a round. `evaluate` scores 20 maps without figures of the images: of the shipped weights
on DRIVE with --drive, else drawn ones of the same size. `segment` finds vessels in one image of 64
x 64 pixels with a network of 4 channels, so that nearly all of it is loading.

The second table is the peak memory of `evaluate` on drawn images of 3504 x 2336, by their number,
in this checkout alone: the other may need all there is. The third is where the time of `evaluate`
goes in this checkout, figures of the images included, by Python's profiler. The fourth, with
--drive, is what AUC and AP lose where a map is rounded to 16 bits, by a factor on the logits.
"""

import argparse
import os
import pstats
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from scipy.ndimage import gaussian_filter

from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    Fundus,
    Network,
    Settings,
    list_drive,
    load_pretrained,
    pooled_scores,
    save_folder,
    save_weights,
    segment,
    synthesize,
)

HERE = Path(__file__).parents[1]
PARTS = {
    "loading libraries": ("<frozen importlib._bootstrap>", "_find_and_load"),
    "  torch": ("torch/__init__.py", "<module>"),
    "  scikit-image and SciPy": ("skimage/morphology/__init__.py", "<module>"),
    "  matplotlib": ("matplotlib/figure.py", "<module>"),
    "images and masks, read": ("retina/data/files.py", "read"),
    "maps, read": ("retina/data/predictions.py", "read_prediction"),
    "counts of pixels of each image": ("evaluation/counts.py", "of"),
    "counts of all images": ("evaluation/counts.py", "total"),
    "AUC and AP from counts": ("evaluation/counts.py", "areas"),
    "skeletons of clDice": ("skimage/morphology/_skeletonize.py", "skeletonize"),
    "second observer, scored": ("evaluation/scoring.py", "_add_second"),
    "curves, drawn": ("evaluation/plots.py", "draw_score_curves"),
    "figures of the images": ("evaluation/sheet.py", "draw_sheet"),
}


def cost(checkout: Path, *arguments: str) -> tuple[float, float]:
    """CPU seconds of a Python process, and its peak memory in GiB."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True)\n"
        "assert done.returncode == 0, done.stderr\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command,
        cwd=checkout,  # where Python looks for modules first
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr}")
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


def draw(folder: Path, count: int, height: int, width: int) -> Path:
    """Draw images with labels, and maps in float32 of as many values as pixels; the folder."""
    (folder / "maps").mkdir(parents=True)
    times = -(-height // 584)  # a large one is a small one enlarged: drawing would take minutes
    for seed in range(count):
        small = synthesize(seed, height=-(-height // times), width=-(-width // times))
        fundus = enlarged(small, times, height, width)
        save_folder(folder / "data", [fundus])
        noise = np.random.default_rng(seed).normal(0, 1.5, (height, width))
        logits = 9 * gaussian_filter(np.where(fundus.label, 1.0, 0.0), 1) - 5 + noise
        save_map(folder, fundus.name, 1 / (1 + np.exp(-logits)))
    return folder


def enlarged(fundus: Fundus, times: int, height: int, width: int) -> Fundus:
    """The image with each pixel repeated, cut to a size, without a second observer."""
    image, label, fov = (
        np.asarray(array).repeat(times, 0).repeat(times, 1)[:height, :width]
        for array in (fundus.image, fundus.label, fundus.fov)
    )
    return replace(fundus, image=image, label=label, fov=fov, second_label=None)


def segmented(drive: Path, folder: Path) -> Path:
    """Maps of DRIVE's test and validation images by the shipped weights; the folder."""
    (folder / "maps").mkdir(parents=True)
    trained = load_pretrained("drive")
    split = DRIVE_PROTOCOL.split([*list_drive(drive, "training"), *list_drive(drive, "test")])
    for files in [*split.validation, *split.test]:
        fundus = files.read()
        save_map(folder, fundus.name, segment(fundus.image, trained, fov=fundus.fov))
    return folder


def save_map(folder: Path, name: str, probability: np.ndarray) -> None:
    np.save(folder / "maps" / f"{name}.npy", probability.astype(np.float32))


def evaluating(folder: Path, drive: Path | None, *options: str) -> list[str]:
    """The command `evaluate` on the maps of a folder."""
    data = [folder / "data", "--dataset", "folder", "--part", "all"] if drive is None else [drive]
    maps = ["--predictions", folder / "maps", "--out", folder / "out", *options]
    return ["-m", "torchattn_blocks.retina", "evaluate", "--data", *map(str, [*data, *maps])]


def segmenting(folder: Path) -> list[str]:
    """The command `segment` on a small image with a small network."""
    network = Network("rsan", (4, 8))
    save_weights(folder / "small.safetensors", network.build(), Settings(network, fov_diameter=60))
    save_folder(folder / "small", [synthesize(0, height=64, width=64)])
    options = [folder / "small" / "images", "--weights", folder / "small.safetensors"]
    return ["-m", "torchattn_blocks.retina", "segment", *map(str, options), "--out", str(folder)]


def compare(rows: dict[str, list[str]], other: Path, rounds: int) -> None:
    """Print the first table."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rows}
    for _ in range(rounds):
        unit, _ = cost(HERE, "-c", "import torch")
        for name, command in rows.items():
            found[name].append((cost(other, *command)[0], cost(HERE, *command)[0], unit))
    print(
        "| CPU seconds | other | this | this / other | other / import torch | this / import torch |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, each in found.items():
        was, now, _ = (median(column) for column in zip(*each, strict=True))
        ratios = [(b / a, a / u, b / u) for a, b, u in each]
        cells = [f"{median(column):.2f}" for column in zip(*ratios, strict=True)]
        print(f"| {name} | {was:.1f} | {now:.1f} | {' | '.join(cells)} |")


def parts(command: list[str], folder: Path) -> None:
    """Print the third table."""
    path = folder / "profile"
    cost(HERE, "-m", "cProfile", "-o", str(path), *command)
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    print("| part of `evaluate` | seconds | share | calls |")
    print("|---|--:|--:|--:|")
    for title, (file, function) in PARTS.items():
        here = [
            v for (path, _, name), v in stats.items() if path.endswith(file) and name == function
        ]
        calls, seconds = sum(v[1] for v in here), sum(v[3] for v in here)
        print(f"| {title} | {seconds:.2f} | {seconds / total:.0%} | {calls} |")
    print(f"| all | {total:.2f} | | |")


def absolute(path: str) -> Path:
    return Path(path).resolve()


def rounded(folder: Path, drive: Path) -> None:
    """Print the fourth table."""
    images = [files.read() for files in list_drive(drive, "test")]
    labels = [fundus.label for fundus in images if fundus.label is not None]
    maps = [np.load(folder / "maps" / f"{fundus.name}.npy").astype(float) for fundus in images]
    print("| logits times | AUC | change by 16 bits | AP | change by 16 bits |")
    print("|--:|--:|--:|--:|--:|")
    for factor in (1, 3, 8):
        sure = [(1 / (1 + (1 / p - 1) ** factor)).astype(np.float32) for p in maps]
        of_16_bits = [np.rint(p * 65535) / 65535 for p in sure]
        exact, loss = pooled_scores(sure, labels), pooled_scores(of_16_bits, labels)
        cells = [f"{exact[name]:.4f} | {loss[name] - exact[name]:.1e}" for name in ("AUC", "AP")]
        print(f"| {factor} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=absolute, help="another checkout")
    parser.add_argument("--drive", type=absolute, help="folder of DRIVE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, nargs="*", default=[5, 10, 20])
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = Path(place)
        if options.drive is None:
            maps = draw(folder / "small-maps", 20, 584, 565)
        else:
            maps = segmented(options.drive, folder / "drive-maps")
        scoring = evaluating(maps, options.drive, "--no-pictures")
        rows = {"`evaluate` of 20 maps": scoring, "`segment` of a small image": segmenting(folder)}
        compare(rows, options.other, options.rounds)
        print()
        if options.large:
            print("| images of 3504 x 2336 | GiB | CPU seconds |")
            print("|---|--:|--:|")
        for count in options.large:
            large = draw(folder / f"large-{count}", count, 2336, 3504)
            seconds, memory = cost(HERE, *evaluating(large, None, "--no-pictures"))
            print(f"| {count} | {memory:.2f} | {seconds:.0f} |", flush=True)
        print()
        parts(evaluating(maps, options.drive), folder)
        if options.drive is not None:
            print()
            rounded(maps, options.drive)


if __name__ == "__main__":
    main()
