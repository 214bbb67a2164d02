"""Measure the memory of a training step: what is held, the peaks, and what they cost in time.

    python benchmarks/memory.py --out docs/memory

RSAN and the plain U-Net in each setting of `memory_efficient`, beside networks of other libraries.
Written are the tables `steps.md` and `batches.md`, the same as `steps.json`, and the picture
`held.png`. Counted are, for a batch of images of `--side` pixels in float32:

- **held**: bytes that the forward pass keeps for the backward pass, without weights, images and
  logits. They are counted twice, by a walk over autograd's graph and by torch's allocator, which
  must agree within two per cent;
- **peak**: the most bytes of the allocator that live at once in forward and backward pass;
- **resident**: the most memory of the process above what it had before its first step, with freed
  memory returned at once (a fixed mmap threshold of 128 KiB) and as the command `train` sets the
  allocator. Each is measured in a process of its own;
- **time**: the median over rounds of a step's time divided by the plain network's time in the same
  round. Settings take turns in one process, in an order drawn anew for each round.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import libraries
import matplotlib.pyplot as plt
import torch
from held import allocated, bytes_held, tensors_held
from memory_networks import NETWORKS, RSAN_PLAIN
from tables import significant, table
from torch import Tensor, nn

from torchattn_blocks.retina import keep_freed_memory
from torchattn_blocks.retina.colours import BLUE, ORANGE, PURPLE, VERMILLION

ALLOCATORS = ("returned", "train")
MIB, GIB = 2**20, 2**30
PAPER = 592  # side of the paper's images of DRIVE
SIDE, BATCH = 296, 2  # what is measured: half as many pixels as one of these images
BY_NAME = {contender.name: contender for contender in NETWORKS}


def step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Forward and backward pass."""
    model.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()


def example(batch: int, side: int) -> tuple[Tensor, Tensor]:
    return torch.rand(batch, 3, side, side), torch.rand(batch, 1, side, side).round()


def count(name: str, batch: int, side: int) -> dict[str, Any]:
    """Bytes held, by the walk and by the allocator, the live peak, and what is held where."""
    torch.manual_seed(0)
    model = BY_NAME[name].build().train()
    x, y = example(batch, side)
    step(model, *example(batch, 64))  # fills caches
    live, _, logits = allocated(lambda: model(x))
    given = [x, *model.parameters(), *model.buffers()]
    held = live - logits.untyped_storage().nbytes()
    walked = bytes_held(logits, *given)
    if abs(held - walked) > 0.02 * held:
        raise RuntimeError(f"{name}: the allocator counts {held} bytes held, the graph {walked}")
    parts = held_where(logits, given, side)
    del logits
    model.zero_grad()
    _, peak, _ = allocated(lambda: step(model, x, y))
    weights = sum(p.numel() for p in model.parameters())
    return {"held": held, "walked": walked, "peak": peak, "parameters": weights, "parts": parts}


def held_where(y: Tensor, given: list[Tensor], side: int) -> dict[str, dict[str, int]]:
    """Bytes by kind and by the level of the feature maps."""
    own = {t.untyped_storage().data_ptr() for t in (y, *given)}
    found: dict[int, tuple[Tensor, set[str]]] = {}
    for tensor, node in tensors_held(y):
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in own:
            found.setdefault(pointer, (tensor, set()))[1].add(node)
    parts: dict[str, dict[str, int]] = {}
    for tensor, nodes in found.values():
        level = _level(tensor, side)
        kind = parts.setdefault(_kind(tensor, nodes), {})
        kind[level] = kind.get(level, 0) + tensor.untyped_storage().nbytes()
    return parts


def _level(tensor: Tensor, side: int) -> str:
    return f"1/{round(side / tensor.shape[-1])}" if tensor.dim() == 4 else "other"


KINDS = {
    "outputs of activations": BLUE,
    "inputs of normalisations": ORANGE,
    "attention": PURPLE,
    "pooling indices": VERMILLION,
    "for concatenations and others": "0.6",
}


def _kind(tensor: Tensor, nodes: set[str]) -> str:
    """What a tensor is kept for. Recipes are reached from many nodes: the order matters."""
    if tensor.dtype == torch.int64:
        return "pooling indices"
    for kind, parts in {
        "attention": ("MaxAndMean", "Mul", "Sigmoid"),
        "inputs of normalisations": ("BatchNorm",),
        "outputs of activations": ("Relu",),
    }.items():
        if tensor.dim() == 4 and any(part in node for node in nodes for part in parts):
            return kind
    return "for concatenations and others"


def resident(name: str, batch: int, side: int, allocator: str) -> float:
    """The most memory of this process in some steps, above what it has before the first."""
    if allocator == "train":
        keep_freed_memory()
    elif ctypes.CDLL(None).mallopt(-3, 128 * 1024) != 1:
        raise RuntimeError("mallopt is glibc's")
    model = BY_NAME[name].build().train()
    step(model, *example(batch, 64))
    x, y = example(batch, side)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * os.sysconf("SC_PAGE_SIZE")
    for _ in range(2):
        step(model, x, y)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def times(names: list[str], batch: int, side: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, in rounds."""
    keep_freed_memory()
    x, y = example(batch, side)
    models = {name: BY_NAME[name].build().train() for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        order = random.Random(number).sample(names, len(names))
        for name in order:
            start = time.perf_counter()
            step(models[name], x, y)
            taken[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in taken.items()}  # the first fills caches


def in_a_process(threads: int, call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns in a process of its own, in which torch has not worked yet."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, fork, torch.set_num_threads, (threads,)) as pool:
        return pool.submit(call, *args).result()


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """All rows. Missing libraries are left out."""
    names = [c.name for c in NETWORKS if not c.missing and (not args.only or c.name in args.only)]
    alone = partial(in_a_process, args.threads)
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        print(name, "...", flush=True)
        row = alone(count, name, args.batch, args.side)
        for allocator in ALLOCATORS:
            row[allocator] = alone(resident, name, args.batch, args.side, allocator)
        rows[name] = row
    print("times ...", flush=True)
    taken = alone(times, names, args.batch, args.side, args.rounds)
    for name, seconds in taken.items():
        rows[name]["seconds"] = statistics.median(seconds)
        plain = taken.get(BY_NAME[name].plain)
        if plain:
            ratios = [a / b for a, b in zip(seconds, plain, strict=True)]
            rows[name]["ratio"] = statistics.median(ratios)
            rows[name]["quartiles"] = statistics.quantiles(ratios, n=4)[::2]
    versions = ", ".join(f"{k} {v}" for k, v in libraries.versions(NETWORKS).items())
    return {
        "environment": f"{args.threads} threads, {cpu()}, torch {torch.__version__}, {versions}",
        "batch": args.batch,
        "side": args.side,
        "rounds": args.rounds,
        "rows": rows,
    }


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def steps_table(results: dict[str, Any]) -> str:
    """Bytes and times of each network, with ratios to the plain one of its kind."""
    rows = results["rows"]
    lines = []
    for name, row in rows.items():
        plain = rows.get(BY_NAME[name].plain, row)

        def cell(key: str, row: dict[str, Any] = row, plain: dict[str, Any] = plain) -> str:
            share = "" if row is plain else f" ({row[key] / plain[key]:.2f})"
            return f"{row[key] / MIB:,.0f}{share}"

        low, high = row.get("quartiles", (1, 1))
        ratio = f"{row['ratio']:.2f} ({low:.2f}–{high:.2f})" if "ratio" in row else ""
        lines.append(
            [
                name,
                f"{row['parameters']:,}",
                *(cell(key) for key in ("held", "peak", *ALLOCATORS)),
                significant(row["seconds"]),
                "" if row is plain else ratio,
            ]
        )
    header = ["", "parameters", "held, MiB", "live peak, MiB", "resident, returned at once, MiB"]
    header += ["resident, as `train`, MiB", "seconds a step", "time, of plain"]
    return table(header, lines)


def batches_table(results: dict[str, Any]) -> str:
    """The largest batch of the paper's images whose live peak fits, by the bytes counted."""
    scale = (PAPER / results["side"]) ** 2 / results["batch"]
    lines = []
    for name, row in results["rows"].items():
        weights = 4 * row["parameters"]
        fixed = 4 * weights  # weights, gradients, Adam's two moments
        each = (row["peak"] - weights) * scale  # the gradients do not grow with the batch
        fits = [str(int((size * GIB - fixed) // each)) for size in (8, 16, 24)]
        lines.append([name, f"{each / MIB:,.0f}", *fits])
    return table(["", "live peak of one image, MiB", "8 GiB", "16 GiB", "24 GiB"], lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """What is held, by level and kind, for each setting of RSAN."""
    shown = [name for name in results["rows"] if BY_NAME[name].plain == RSAN_PLAIN]
    shown = [name for name in shown if "parts" in results["rows"][name] and "stages" not in name]
    shown = [name for name in shown if "place" not in name]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.6), sharey=True)
    for axis, name in zip(axes, shown, strict=True):
        parts = results["rows"][name]["parts"]
        levels = sorted({level for kind in parts.values() for level in kind if level != "other"})
        below = [0.0] * len(levels)
        for kind, colour in KINDS.items():
            heights = [parts.get(kind, {}).get(level, 0) / MIB for level in levels]
            axis.bar(levels, heights, bottom=below, color=colour, label=kind, width=0.7)
            below = [a + b for a, b in zip(below, heights, strict=True)]
        axis.set(title=f"{name}\n{sum(below):,.0f} MiB", xlabel="side of the feature maps")
    axes[0].set_ylabel("MiB held")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and picture")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"images (default: {BATCH})")
    parser.add_argument("--side", type=int, default=SIDE, help=f"pixels (default: {SIDE})")
    parser.add_argument("--rounds", type=int, default=15, help="steps that are timed (default: 15)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default: 2)")
    parser.add_argument("--only", nargs="*", choices=BY_NAME, help="some networks")
    return parser.parse_args()


def main() -> None:
    args = parse()
    results = measured(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "steps.json").write_text(json.dumps(results, indent=1) + "\n")
    about = f"{results['batch']} x 3 x {results['side']} x {results['side']}, float32. "
    about += f"{results['environment']}.\n\n"
    (args.out / "steps.md").write_text(about + steps_table(results))
    (args.out / "batches.md").write_text(batches_table(results))
    draw(results, args.out / "held.png")
    print(about + steps_table(results) + "\n" + batches_table(results))


if __name__ == "__main__":
    main()
