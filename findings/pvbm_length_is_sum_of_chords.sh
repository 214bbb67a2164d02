#!/usr/bin/env bash
# Package: PVBM 3.0.1.8 (seen with numpy 2.4.6, scikit-image 0.26.0, torch 2.13.0, on a CPU).
# Valid input: the skeleton of a half circle of radius 60, one pixel wide, as an array
#   of 0 and 1, to GeometricalAnalysis.GeometricalVBMs().compute_tortuosity_length.
# Seen: the second value, documented as the overall length in pixels, is 120: the
#   distance between the two ends. The half circle is 188 pixels long, and the list of
#   arc lengths, the fourth value, holds a number near that. The length of a sine wave is
#   also the sum of chords; of a straight line it is right. A closed ring has length 0
#   and a tortuosity of NaN, because it has no ends.
# Expected: a length that goes along the vessels.
# What a user can do: take the sum of the list of arc lengths instead. (The newer
#   GeometryAnalysis.GeometricalVBMs sums arcs, but needs the optic disc, too.)
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 torchvision==0.28.0 numpy==2.4.6 scikit-image==0.26.0 PVBM==3.0.1.8

cat > "$tmp/show.py" <<'PY'
import platform
import sys
import warnings
from importlib.metadata import version

import numpy as np
from skimage.draw import circle_perimeter
from skimage.morphology import skeletonize

warnings.simplefilter("ignore")  # the class is deprecated
from PVBM.GeometricalAnalysis import GeometricalVBMs

print("python", platform.python_version(), *(f"{p} {version(p)}" for p in ("PVBM", "numpy")))

ring = np.zeros((201, 201), int)
ring[circle_perimeter(100, 100, 60)] = 1
half = ring.copy()
half[101:] = 0
line = np.zeros((50, 200), int)
line[20, 10:190] = 1


def measured(name, pixels):
    """Tortuosity, length and the sum of the list of arc lengths."""
    found = GeometricalVBMs().compute_tortuosity_length(skeletonize(pixels > 0).astype(int))
    tortuosity, length, arcs = float(found[0]), float(found[1]), float(np.sum(found[3]))
    print(f"{name}: tortuosity {tortuosity:.3f}, length {length:.1f}, sum of arcs {arcs:.1f}")
    return tortuosity, length, arcs


_, straight, _ = measured("line of 180 pixels", line)
_, length, arcs = measured("half circle, 188.5 long, its ends 120 apart", half)
tortuosity, round_length, _ = measured("ring, 377 long", ring)
seen = abs(straight - 179) < 1 and abs(length - 120) < 1 and arcs > 180
seen = seen and round_length == 0 and np.isnan(tortuosity)
print("seen as described" if seen else "the behaviour has changed")
sys.exit(not seen)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
