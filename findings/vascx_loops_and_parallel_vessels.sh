#!/usr/bin/env bash
# Package: retinalysis-vascx 2.1.0 (retinalysis-enface 2.0.0, scikit-image 0.26.0).
# Valid input: vessel masks with a closed loop: a ring, and a ring with a straight vessel
#   out of it on the left and one on the right.
# Seen: the segments of the first mask are none. Those of the second are one, about 250
#   of its 447 pixels long: one half of the ring is gone. There is no error and no
#   warning. The graph holds one edge between two nodes, and edges of a node to itself
#   are removed; in the masks of whole retinas vessels that cross twice are such loops.
# Expected: segments that cover the skeleton, or a warning.
# What a user can do: compare the lengths of the segments with the number of pixels of
#   layer.skeleton, which has all of them; or take the skeleton to skan, which keeps both.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
# By its requirements it would also install torch, which is not used here.
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 scikit-learn==1.9.1 pandas==2.3.3 \
    pillow==11.3.0 matplotlib==3.11.2 opencv-python-headless==5.0.0.93 numba==0.68.1 \
    networkx==3.6.1 sortedcontainers==2.4.0 joblib==1.6.0 tqdm==4.70.1 click==8.5.1 \
    typing_extensions==4.16.0
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    retinalysis-vascx==2.1.0 retinalysis-enface==2.0.0

cat > "$tmp/show.py" <<'PY'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from vascx.fundus.retina import Retina
from vascx.fundus.vessels_layer import FundusVesselsLayer

names = ("retinalysis-vascx", "retinalysis-enface", "scikit-image")
print(*(f"{name} {version(name)}" for name in names))
rows, columns = np.mgrid[:200, :200]
ring = np.abs(np.hypot(rows - 100, columns - 100) - 60) <= 2.5
arms = (np.abs(rows - 100) <= 2.5) & (np.abs(np.abs(columns - 100) - 77.5) <= 17.5)


def measured(mask):
    layer = FundusVesselsLayer("vessels", mask.astype(np.uint8))
    Retina(layers={"vessels": layer}, resolution=mask.shape)
    segments = layer.undirected_segments
    return len(segments), sum(one.length for one in segments), int(layer.skeleton.sum())


seen = []
with warnings.catch_warnings():
    warnings.simplefilter("error")  # none is given
    for name, mask in (("ring", ring), ("ring with two arms", ring | arms)):
        count, length, pixels = measured(mask)
        print(f"{name}: {count} segments, {length:.0f} pixels long; skeleton of {pixels} pixels")
        seen.append((count, length, pixels))
(none, _, _), (one, length, pixels) = seen
sys.exit(not (none == 0 and one == 1 and length < 300 and pixels > 350))
PY
"$tmp/venv/bin/python" "$tmp/show.py"
