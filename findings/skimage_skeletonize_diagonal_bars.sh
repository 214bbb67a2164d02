#!/usr/bin/env bash
# Package: scikit-image 0.26.0 (numpy 2.4.6).
# Valid input: a mask of type bool with one straight bar at 45 degrees, four diagonals
#   wide and 80 pixels long from corner to corner.
# Seen: skeletonize(mask) is a single pixel, without an error: the skeleton is eaten up
#   from its end. The same bar mirrored keeps a skeleton of 78 pixels, and both do with
#   method="lee". Lengths of vessels on this skeleton, by skan, PVBM or VascX, are then
#   too small for diagonals of one direction.
# Expected: a skeleton of about 80 pixels, as for the mirrored bar.
# What a user can do: skeletonize(mask, method="lee").
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    scikit-image==0.26.0 numpy==2.4.6

cat > "$tmp/show.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from skimage.morphology import skeletonize

print(*(f"{name} {version(name)}" for name in ("scikit-image", "numpy")))
rows, columns = np.mgrid[:140, :140]
across, along = columns - rows, columns + rows
mask = (across >= -2) & (across <= 1) & (along >= 60) & (along <= 220)


def pixels(mask, **options):
    return int(np.count_nonzero(skeletonize(mask, **options)))


bars = {"one way": mask, "mirrored": mask[:, ::-1].copy()}
default = {name: pixels(bar) for name, bar in bars.items()}
lee = {name: pixels(bar, method="lee") for name, bar in bars.items()}
for name in bars:
    print(f"{name}: {default[name]} pixels by default, {lee[name]} by method='lee'")
seen = default["one way"] < 10 and min(default["mirrored"], *lee.values()) > 70
sys.exit(not seen)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
