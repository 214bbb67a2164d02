"""Measure a training step of RSAN: what writing in place saves, and what DropBlock costs.

Each setting runs in a process of its own, for its peak of memory; settings take turns, so that a
machine's moods meet all alike. Printed: medians over steps, and ratios to the first row.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

SETTINGS = {
    "out of place": {"inplace": False, "p": 0.15},
    "in place": {"inplace": True, "p": 0.15},
    "p = 0": {"inplace": False, "p": 0.0},
}
TURNS = 2


def measure(name: str, side: int, steps: int) -> None:
    """Print the median seconds of a step and the process's peak of memory in MiB."""
    import torch

    from torchattn_blocks import rsan

    torch.manual_seed(0)
    model = rsan(**SETTINGS[name])
    x, y = torch.rand(2, 3, side, side), torch.rand(2, 1, side, side).round()
    times = []
    for _ in range(steps + 1):  # the first warms up
        start = time.perf_counter()
        model.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(statistics.median(times[1:]), peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=592, help="height and width of the images")
    parser.add_argument("--steps", type=int, default=3, help="measured in each process")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.setting:
        measure(args.setting, args.side, args.steps)
        return
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    for _ in range(TURNS):
        for name, results in found.items():
            command = [sys.executable, __file__, "--setting", name]
            command += ["--side", str(args.side), "--steps", str(args.steps)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, peak = map(float, out.split())
            results.append((seconds, peak))
    print(f"RSAN, 2 x 3 x {args.side} x {args.side}, float32, {os.cpu_count()} CPU cores")
    print("| setting | seconds a step | ratio | peak MiB | ratio |\n|---|---:|---:|---:|---:|")
    first = None
    for name, results in found.items():
        seconds, peak = (statistics.median(values) for values in zip(*results, strict=True))
        first = first or (seconds, peak)
        print(
            f"| {name} | {seconds:.2f} | {seconds / first[0]:.2f} "
            f"| {peak:.0f} | {peak / first[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
