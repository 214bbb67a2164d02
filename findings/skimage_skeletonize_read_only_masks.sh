#!/usr/bin/env bash
# Package: scikit-image 0.26.0 (numpy 2.4.6).
# Valid input: a mask of type bool, memory-mapped from a file, so read-only.
# Seen: skeletonize(mask) raises "ValueError: buffer source array is read-only". Of the
#   other functions that look at the shape of a mask, none does: skeletonize with
#   method="lee", thin, medial_axis, label, regionprops, convex_hull_image.
# Expected: a result, for the mask is not changed; or that the documentation says so.
# What a user can do: skeletonize(mask & True), which makes a new array.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    scikit-image==0.26.0 numpy==2.4.6

cat > "$tmp/show.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from skimage.measure import label, regionprops
from skimage.morphology import convex_hull_image, medial_axis, skeletonize, thin

print(*(f"{name} {version(name)}" for name in ("scikit-image", "numpy")))
drawn = np.zeros((20, 30), bool)
drawn[8:12, 3:27] = True
np.save(f"{sys.argv[1]}/mask.npy", drawn)
mask = np.load(f"{sys.argv[1]}/mask.npy", mmap_mode="r")
print(f"{mask.dtype}, writeable: {mask.flags.writeable}")
functions = {
    "skeletonize": skeletonize,
    "skeletonize of a new array": lambda x: skeletonize(x & True),
    "skeletonize, lee": lambda x: skeletonize(x, method="lee"),
    "thin": thin,
    "medial_axis": medial_axis,
    "label": label,
    "regionprops": lambda x: regionprops(label(x))[0].image,
    "convex_hull_image": convex_hull_image,
}
refused = []
for name, function in functions.items():
    try:
        print(f"{name}: {np.count_nonzero(function(mask))} pixels")
    except ValueError as error:
        refused.append(name)
        print(f"{name}: ValueError: {error}")
sys.exit(refused != ["skeletonize"])
PY
"$tmp/venv/bin/python" "$tmp/show.py" "$tmp"
