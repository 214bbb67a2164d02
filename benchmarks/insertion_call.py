"""Measure what a call of an inserted layer costs, beside other ways to run a layer after a module.

python benchmarks/insertion_call.py [--rounds 31]

Module and layer do nothing, so that the calls themselves are what is timed. In each round all ways
are timed one after the other; the table has the median over rounds of what a way costs more than
the module alone.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from torchattn_blocks import insert_after

CALLS = 2000


def hooked() -> nn.Module:
    """A layer that a forward hook of the module calls."""
    module = nn.Identity()
    module.add_module("layer", nn.Identity())
    module.register_forward_hook(lambda module, args, output: module.layer(output))
    return module


WAYS: dict[str, Callable[[], nn.Module]] = {
    "the module alone": nn.Identity,
    "written in, nn.Sequential": lambda: nn.Sequential(nn.Identity(), nn.Identity()),
    "a forward hook": hooked,
    "insert_after": lambda: insert_after(nn.Identity(), "", lambda module: nn.Identity()),
}


def seconds(module: nn.Module, x: Tensor) -> float:
    """The time of a call."""
    start = time.perf_counter()
    for _ in range(CALLS):
        module(x)
    return (time.perf_counter() - start) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    x = torch.ones(1)
    modules = {name: make().eval() for name, make in WAYS.items()}
    rounds = [
        {name: seconds(module, x) for name, module in modules.items()}
        for _ in range(args.rounds + 1)
    ][1:]  # the first one fills caches
    first = next(iter(WAYS))
    print("| a layer after a module | microseconds a call | more than the module alone |")
    print("|---|---:|---:|")
    for name in WAYS:
        whole = 1e6 * median(row[name] for row in rounds)
        more = 1e6 * median(row[name] - row[first] for row in rounds)
        print(f"| {name} | {whole:.1f} | {more:.1f} |")


if __name__ == "__main__":
    main()
