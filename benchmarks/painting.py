"""Measure what painting a block mask costs on this CPU, beside the constants of `_paint_cpu.py`.

The sparse way costs so much for each seed and each element painted; the dense way so much for each
element of the map and each shifted copy of it. Each is fitted to medians over maps of RSAN's first
level, in one process, and printed in nanoseconds.
"""

import math
import statistics
import time

import numpy as np
import torch

from torchattn_blocks.layers._block_mask import BlockMask
from torchattn_blocks.layers._paint_cpu import DenseBlocks, SparseBlocks

SHAPE = (2, 16, 592, 592)
REPEATS = 9


def cost(block: int, gamma: float, *, sparse: bool) -> float:
    """Median seconds of painting one mask, without the product that goes with it."""
    out = torch.ones(SHAPE, dtype=torch.bfloat16)
    times = []
    for seed in range(REPEATS + 2):
        mask = BlockMask(SHAPE, (1, 1, block, block), -math.log1p(-gamma), seed)
        start = time.perf_counter()
        blocks = SparseBlocks(mask) if sparse else DenseBlocks(mask, out.device)
        blocks.drop(out, 1.0, out)
        end = time.perf_counter()
        torch.mul(out, 1.0, out=out)
        times.append(2 * end - start - time.perf_counter())
    return statistics.median(times[2:])


def main() -> None:
    elements = math.prod(SHAPE)
    rows, seconds = [], []
    for block, gamma in [(1, 0.05), (3, 0.02), (5, 0.005), (7, 0.003), (11, 0.001), (15, 0.0007)]:
        seeds = -math.log1p(-gamma) * elements
        rows.append((seeds, seeds * block**2))
        seconds.append(cost(block, gamma, sparse=True))
    per_seed, per_painted = np.linalg.lstsq(np.array(rows), np.array(seconds), rcond=None)[0]
    rows, seconds = [], []
    for block in (1, 2, 3, 4, 7, 8, 15):
        rows.append((elements, 2 * elements * math.ceil(math.log2(block))))
        seconds.append(cost(block, 0.2, sparse=False))
    per_element, per_shift = np.linalg.lstsq(np.array(rows), np.array(seconds), rcond=None)[0]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, bfloat16, {SHAPE}")
    for name, value in {
        "_NS_PER_SEED": per_seed,
        "_NS_PER_PAINTED_ELEMENT": per_painted,
        "_NS_PER_DENSE_ELEMENT": per_element,
        "_NS_PER_DENSE_SHIFT": per_shift,
    }.items():
        print(f"{name:24} = {value * 1e9:.2f}")


if __name__ == "__main__":
    main()
