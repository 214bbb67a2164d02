"""The errors of the measures on drawn vessels of known geometry, as the table of the docs.

``python tests/retina/measure_errors.py`` writes the table to docs/measure_errors.md.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from drawn_vessels import arc, bar, drawn, koch, sierpinski_carpet, tree, wave

from torchattn_blocks.retina import VesselMeasures, measure_vessels
from torchattn_blocks.retina.measures.fractal import box_count

TABLE = Path(__file__).parents[2] / "docs" / "measure_errors.md"
ANGLES = (0, 10, 22.5, 30, 45, 60, 90)
HEAD = ("measure", "drawn", "error")


def error_rows():
    """A measure, what was drawn, and the smallest and largest error, in percent or as they are."""
    bars = _bars()
    for low, high in ((1, 3), (5, 12)):
        some = [one for one in bars if low <= one.width <= high]
        what = f"bars of {low} to {high} px at 7 angles from 0 to 90°"
        yield "length", what, [one.measures.length / 150 for one in some]
        for name in ("mean_width", "median_width"):
            found = [getattr(one.measures, name) / one.drawn_width for one in some]
            yield name, f"{what}, compared with the drawn width", found
            found = [getattr(one.measures, name) / one.width for one in some if one.is_fair]
            yield name, f"the same at 10, 22.5, 30 and 60°, compared with {low} to {high} px", found
    yield "tortuosity", "bars of 1 to 12 px", _measured([one.measures.tortuosity for one in bars])
    halves = [
        (radius, measure_vessels(arc(w, radius))) for w in (1, 3, 5, 8) for radius in (30, 80)
    ]
    what = "half circles of radius 30 and 80 px, 1 to 8 px wide"
    rings = [
        measure_vessels(arc(w, radius, 360)).length / (2 * math.pi * radius)
        for w in (1, 3, 5, 8)
        for radius in (20, 80)
    ]
    yield "length", what, [one.length / (math.pi * radius) for radius, one in halves]
    yield "length", "rings of radius 20 and 80 px, 1 to 8 px wide", rings
    yield "tortuosity", what, _measured([one.tortuosity / (math.pi / 2) for _, one in halves])
    yield "curvature", what, _measured([one.curvature * radius for radius, one in halves])
    waves = []
    for amplitude, period in ((3, 100), (10, 100), (20, 100), (5, 150)):
        for width in (2, 4, 8):
            mask, ratio, curvature = wave(width, amplitude, period)
            one = measure_vessels(mask)
            waves.append((one.tortuosity / ratio, one.curvature / curvature))
    what = "sine waves of 100 and 150 px, 3 to 20 px high, 2 to 8 px wide"
    yield "tortuosity", what, [ratio for ratio, _ in waves]
    yield "curvature", what, [curvature for _, curvature in waves]
    trees = []
    for width in (1.6, 5, 9):
        mask, length = tree(width)
        trees.append((width, length, measure_vessels(mask)))
    what = "trees of 15 segments, 1.6, 5 and 9 px wide"
    yield "length", what, [one.length / length for _, length, one in trees]
    yield "mean_width", what, [one.mean_width / width for width, _, one in trees]
    yield "median_width", what, [one.median_width / width for width, _, one in trees]
    yield "segments", what, [one.segments / 15 for *_, one in trees]
    yield "branch_points", what, [one.branch_points / 7 for *_, one in trees]
    yield "end_points", what, [one.end_points / 9 for *_, one in trees]
    line = np.zeros((256, 256), bool)
    line[100] = True
    curve = measure_vessels(drawn((1024, 1024), [(koch(1024, 5), 1)]), min_size=0)
    carpet = sierpinski_carpet(6)
    for what, dimension, found in (
        ("a line of 256 px", 1, box_count(line).dimension),
        ("a square of 256 px", 2, box_count(np.ones_like(line)).dimension),
        ("a Sierpinski carpet of 729 px", math.log(8) / math.log(3), box_count(carpet).dimension),
        ("a Koch curve of 1024 px", math.log(4) / math.log(3), curve.fractal_dimension),
    ):
        yield "fractal_dimension", what, [found / dimension]


class Bar(NamedTuple):
    """A bar that was drawn, how wide the drawing is, and its measures.

    At 0, 45 and 90° all pixels along a bar are equally far from its line. So a bar of 1 px is drawn
    with 2 px or, at 45°, with 0.7 px.
    """

    width: float
    angle: float
    drawn_width: float
    measures: VesselMeasures

    @property
    def is_fair(self):
        return self.angle % 45 != 0


def _bars():
    bars = []
    for width in (1, 2, 3, 5, 8, 12):
        for angle in ANGLES:
            for offset in ((0.2, 0.3), (0.03, 0.47)):
                mask = bar(width, angle, offset=offset)
                inner = bar(30, angle, length=100, offset=offset) & mask
                bars.append(Bar(width, angle, inner.sum() / 100, measure_vessels(mask)))
    return bars


def _measured(values):
    """Without those that could not be measured, because no segment was long enough."""
    return [value for value in values if not math.isnan(value)]


def table():
    """The table in Markdown: ratios of what was measured to what is true, as errors in percent."""
    lines = [HEAD, ("---", "---", "---:")]
    for name, what, ratios in error_rows():
        ends = (f"{100 * (ratio - 1):+.1f}" for ratio in (min(ratios), max(ratios)))
        ends = dict.fromkeys(
            "0.0" if end.endswith("0.0") and len(end) == 4 else end for end in ends
        )
        lines.append((f"`{name}`", what, f"{' to '.join(ends)} %"))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table())
    print(TABLE.read_text())
