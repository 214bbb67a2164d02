"""Vessels of known geometry, drawn: a pixel is vessel if its centre is near enough to a line.

Points are (row, column) in pixels; the centre of the first pixel is (0, 0).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Points = NDArray[np.float64]


def drawn(shape, lines):
    """A mask of lines, each a pair of points along it (n, 2), dense, and its width in pixels.

    Ends are cut straight: beyond the first and the last point nothing is drawn.
    """
    pixels = np.stack(np.indices(shape), -1).reshape(-1, 2).astype(float)
    mask = np.zeros(len(pixels), bool)
    for line, width in lines:
        distance, nearest = KDTree(line).query(pixels, distance_upper_bound=width)
        near = np.flatnonzero(np.isfinite(distance))
        at = nearest[near]
        along = np.gradient(line, axis=0)[at]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        offset = pixels[near] - line[at]
        across = np.abs(offset[:, 0] * along[:, 1] - offset[:, 1] * along[:, 0])
        forward = (offset * along).sum(1)
        beyond = ((at == 0) & (forward < 0)) | ((at == len(line) - 1) & (forward > 0))
        mask[near[(across <= width / 2) & ~beyond]] = True
    return mask.reshape(shape)


def straight(start, angle, length, step=0.05):
    """Points along a straight line; the angle in degrees, 0 along a row."""
    t = np.arange(0, length + step / 2, step)[:, None]
    direction = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    return np.asarray(start, float) + t * direction


def bar(width, angle, length=150, offset=(0.2, 0.3), side=200):
    """A straight vessel in the middle of a square image."""
    middle = np.array([side / 2, side / 2]) + offset
    start = straight(middle, angle + 180, length / 2)[-1]
    return drawn((side, side), [(straight(start, angle, length), width)])


def arc(width, radius, degrees=180, side=200):
    """A part of a circle around the middle of a square image."""
    t = np.radians(np.arange(0, degrees, 0.02 / radius * 57.3))[:, None] + 0.1
    middle = np.array([side / 2 + 0.2, side / 2 - 0.3])
    line = middle + radius * np.concatenate([np.sin(t), np.cos(t)], 1)
    return drawn((side, side), [(line, width)])


def wave(width, amplitude, period, length=300, side=(120, 340)):
    """A sine wave along the rows, its arc over its chord, and its mean absolute curvature."""
    t = np.arange(0, length, 0.01)
    row = side[0] / 2 + amplitude * np.sin(2 * np.pi * t / period)
    line = np.stack([row, 20.3 + t], 1)
    return drawn(side, [(line, width)]), *_arc_over_chord_and_curvature(line)


def _arc_over_chord_and_curvature(line):
    step = np.diff(line, axis=0)
    length = np.hypot(*step.T).sum()
    turns = np.abs(np.diff(np.unwrap(np.arctan2(*step.T))))
    return length / np.linalg.norm(line[-1] - line[0]), turns.sum() / length


def tree(width, side=420, levels=4):
    """A tree that forks three times into two: 15 segments, 7 forks, 9 ends; and its length."""
    lines, total = [], 0.0

    def grow(start, angle, length, level):
        nonlocal total
        line = straight(start, angle, length)
        lines.append((line, width))
        total += length
        if level > 1:
            for turn in (-spread[level], spread[level]):
                grow(line[-1], angle + turn, length * 0.72, level - 1)

    spread = {4: 48, 3: 36, 2: 30}
    grow(np.array([side - 15.0, side / 2 + 0.3]), -90 + 4, 130, levels)
    return drawn((side, side), lines), total


def koch(side=256, levels=4):
    """Points along a Koch curve, whose dimension is log 4 / log 3."""
    line = np.array([[side * 0.7, 4.0], [side * 0.7, side - 5.0]])
    for _ in range(levels):
        start, step = line[:-1], np.diff(line, axis=0) / 3
        turned = step @ [[0.5, -np.sqrt(0.75)], [np.sqrt(0.75), 0.5]]
        corners = [start, start + step, start + step + turned, start + 2 * step]
        line = np.concatenate([np.stack(corners, 1).reshape(-1, 2), line[-1:]])
    pieces = [np.linspace(*ends, 40, endpoint=False) for ends in pairwise(line)]
    return np.concatenate(pieces)


def sierpinski_carpet(levels):
    """A carpet of 3 ** levels pixels in height and width, whose dimension is log 8 / log 3."""
    if not levels:
        return np.ones((1, 1), bool)
    part = sierpinski_carpet(levels - 1)
    row = np.concatenate([part, part, part], 1)
    return np.concatenate([row, np.concatenate([part, part & False, part], 1), row])
