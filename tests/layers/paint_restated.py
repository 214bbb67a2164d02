"""What the kernel for CUDA draws, restated in NumPy as plainly as can be."""

import math

import numpy as np
import torch

from torchattn_blocks.layers._paint_triton import _TICKS, _tile

MASK_32 = np.uint64(0xFFFFFFFF)


def philox(seed, *counter):
    """Philox4x32-10 of Salmon et al. (2011), figure 3 and table 2."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, np.uint64) for c in counter))
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product0, product1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        high0, high1 = product0 >> np.uint64(32), product1 >> np.uint64(32)
        c0, c1 = high1 ^ c1 ^ np.uint64(key0), product1 & MASK_32
        c2, c3 = high0 ^ c3 ^ np.uint64(key1), product0 & MASK_32
        key0, key1 = (key0 + 0x9E3779B9) % 2**32, (key1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def gap_ticks(bits):
    f = np.float32
    u = bits.astype(f) * f(2**-32)
    series = u * (1 + u * (f(0.5) + u * f(0.33333334)))
    log = -np.log(1 - np.minimum(u, f(0.99999994)))
    return (np.where(u < f(0.01), series, log) * f(2**32)).astype(np.int64)


def hit_cells(seed, places, time, cells):
    """Which cells of each bin are hit: (places, cells)."""
    hit = np.zeros((len(places), cells), bool)
    arrived = np.zeros(len(places), np.int64)
    bins = np.arange(len(places))
    number = 0
    while len(bins):
        gap_bits, cell_bits, _, _ = philox(
            seed, number, places[bins] & 0xFFFFFFFF, places[bins] >> 32, 0
        )
        arrived[bins] += gap_ticks(gap_bits)
        live = arrived[bins] < time
        bins = bins[live]
        hit[bins, (cell_bits[live] % cells).astype(int)] = True
        number += 1
    return hit


def blocks(seed, planes, size, block, intensity):
    """Where blocks lie: (planes, *size)."""
    tile = _tile([*(1,) * (3 - len(size)), *size])[-len(size) :]
    cells = [s - b + 1 for s, b in zip(size, block, strict=True)]
    bins = [math.ceil(c / t) for c, t in zip(cells, tile, strict=True)]
    places = np.arange(planes * math.prod(bins))
    time = round(intensity * math.prod(tile) * _TICKS)
    covered = torch.zeros(planes, *size, dtype=torch.bool)
    for place, cell in np.argwhere(hit_cells(seed, places, time, math.prod(tile))):
        plane, *at_bin = np.unravel_index(place, (planes, *bins))
        at = [
            int(b * t + c)
            for b, t, c in zip(at_bin, tile, np.unravel_index(cell, tile), strict=True)
        ]
        if all(a < c for a, c in zip(at, cells, strict=True)):
            covered[(plane, *(slice(a, a + b) for a, b in zip(at, block, strict=True)))] = True
    return covered
