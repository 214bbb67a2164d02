"""Measure a training step of RSAN: writing in place, DropBlock, `report`, formats, precisions.

With --attention: RSAN with each attention layer in place of its own, and without one.

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
from contextlib import nullcontext

SETTINGS = {
    "out of place": {"inplace": False, "p": 0.15},
    "in place": {"inplace": True, "p": 0.15},
    "p = 0": {"inplace": False, "p": 0.0},
    "under report": {"report": True},
    "channels_last": {"channels_last": True},
    "bfloat16": {"bf16": True},
    "bfloat16, channels_last": {"bf16": True, "channels_last": True},
}
ATTENTION = {
    "none": {"preset": "backbone_dropblock"},
    "SpatialAttention": {},
    **{
        name: {"attention": name}
        for name in (
            "ChannelAttention",
            "CBAM",
            "SqueezeExcite",
            "EfficientChannelAttention",
            "ConcurrentSqueezeExcite",
            "GlobalContext",
            "CoordinateAttention",
            "TripletAttention",
            "BAM",
            "SimAM",
        )
    },
}
TURNS = 2


def measure(name: str, batch: int, side: int, steps: int) -> None:
    """Print the median seconds of a step, the process's peak of memory in MiB, and parameters."""
    import torch

    import torchattn_blocks
    from torchattn_blocks.retina import keep_freed_memory

    keep_freed_memory()  # as the command `train` does
    torch.manual_seed(0)
    options = dict((SETTINGS | ATTENTION)[name])
    mixed = options.pop("bf16", False)
    watched = options.pop("report", False)
    last = options.pop("channels_last", False)
    layout = torch.channels_last if last else torch.contiguous_format
    if "attention" in options:
        options["attention"] = getattr(torchattn_blocks, options["attention"])
    make = getattr(torchattn_blocks, options.pop("preset", "rsan"))
    model = make(**options).to(memory_format=layout)
    x, y = torch.rand(batch, 3, side, side), torch.rand(batch, 1, side, side).round()
    x = x.contiguous(memory_format=layout)
    times = []
    with torchattn_blocks.report(model) if watched else nullcontext():
        for _ in range(steps + 1):  # the first warms up
            start = time.perf_counter()
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                logits = model(x)
            torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y).backward()
            times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(statistics.median(times[1:]), peak, sum(w.numel() for w in model.parameters()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=592, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=2, help="images in a step")
    parser.add_argument("--steps", type=int, default=3, help="measured in each process")
    parser.add_argument("--attention", action="store_true", help="compare attention layers")
    parser.add_argument("--only", nargs="*", choices=SETTINGS | ATTENTION)
    parser.add_argument("--setting", choices=SETTINGS | ATTENTION, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.setting:
        measure(args.setting, args.batch, args.side, args.steps)
        return
    only = args.only or (ATTENTION if args.attention else SETTINGS)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in only}
    for _ in range(TURNS):
        for name, results in found.items():
            command = [sys.executable, __file__, "--setting", name]
            command += ["--side", str(args.side), "--steps", str(args.steps)]
            command += ["--batch", str(args.batch)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            results.append(tuple(map(float, out.split())))
    print(f"RSAN, {args.batch} x 3 x {args.side} x {args.side}, {os.cpu_count()} CPU cores")
    print("| setting | parameters | seconds a step | ratio | peak MiB | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    first = None
    for name, results in found.items():
        seconds, peak, weights = map(statistics.median, zip(*results, strict=True))
        first = first or (seconds, peak)
        print(
            f"| {name} | {weights:,.0f} | {seconds:.2f} | {seconds / first[0]:.2f} "
            f"| {peak:.0f} | {peak / first[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
