"""Compare what calls cost in this checkout with another one, such as that of an earlier commit.

git worktree add ../earlier COMMIT
python benchmarks/tool_calls.py ../earlier [--rounds 7]

Each round times the calls in a process for each checkout, in turn, and takes the fastest of each.
The table has medians over rounds, and the median of the ratios of a round.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parents[1]


def calls() -> dict[str, Callable[[], Any]]:
    """What is timed, by name: public names alone, so that both checkouts have them."""
    import torch
    from torch import nn

    from torchattn_blocks import (
        CBAM,
        DropBlock2d,
        DropSchedule,
        SpatialAttention,
        attention_maps,
        changes,
        insert_after,
        monte_carlo,
        report,
        rsan,
        undo,
    )

    network, x = rsan(), torch.rand(1, 3, 32, 32)
    small = rsan(widths=(4, 8))
    maps, features = torch.rand(1, 8, 16, 16), torch.rand(1, 16, 32, 32)
    drop, attention = DropBlock2d(), SpatialAttention()
    inserted = insert_after(network, nn.BatchNorm2d, lambda m: DropBlock2d(0.1, 3))
    schedule = DropSchedule(network, 0.0, None, 1_000_000)

    def enter(manager: Any) -> None:
        with manager:
            pass

    return {
        "DropBlock2d()": DropBlock2d,
        "DropBlock2d, call": lambda: drop(maps),
        "SpatialAttention, call": lambda: attention(features),
        "CBAM(16)": lambda: CBAM(16),
        "rsan(widths=(4, 8))": lambda: rsan(widths=(4, 8)),
        "rsan, call": lambda: small(x),
        "DropSchedule(rsan)": lambda: DropSchedule(network, 0.0, None, 10),
        "DropSchedule.step": schedule.step,
        "with monte_carlo(rsan)": lambda: enter(monte_carlo(network)),
        "with report(rsan)": lambda: enter(report(network)),
        "attention_maps(rsan)": lambda: attention_maps(small, x),
        "insert_after(rsan, type)": lambda: insert_after(
            small, nn.BatchNorm2d, lambda m: DropBlock2d(0.1, 3)
        ),
        "insert_after(rsan, pattern)": lambda: insert_after(
            small, "**.norm1", lambda m: DropBlock2d(0.1, 3)
        ),
        "undo": lambda: undo(inserted),
        "changes": lambda: changes(inserted),
    }


def times() -> dict[str, float]:
    """Microseconds of each call, and of the import after torch's own."""
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    found = {"import": 0.0}
    timed = calls()
    found["import"] = (time.perf_counter() - start) * 1e6
    for name, call in timed.items():
        call()
        each = []
        end = time.perf_counter() + 0.4
        while time.perf_counter() < end or len(each) < 5:
            start = time.perf_counter()
            call()
            each.append(time.perf_counter() - start)
        found[name] = min(each) * 1e6  # other work on the machine only adds
    return found


def of_checkout(path: Path) -> dict[str, float]:
    """The same in a process that imports the package of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(path.resolve())}
    command = [sys.executable, __file__, "--here"]
    return json.loads(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    """Time the calls in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(times()))
        return
    if args.other is None or not (args.other / "torchattn_blocks").is_dir():
        parser.error(f"{args.other} is no checkout: it has no torchattn_blocks/")
    rounds = [(of_checkout(args.other), of_checkout(HERE)) for _ in range(args.rounds)]
    print("| microseconds a call | other | this | ratio |\n|---|---:|---:|---:|")
    for name in rounds[0][0]:
        other, this = (median(pair[i][name] for pair in rounds) for i in (0, 1))
        ratio = median(pair[1][name] / pair[0][name] for pair in rounds)
        print(f"| {name} | {other:.0f} | {this:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
