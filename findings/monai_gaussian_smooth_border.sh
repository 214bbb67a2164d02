#!/usr/bin/env bash
# Package: MONAI 1.6.1 (torch 2.13.0, scipy 1.17.1 for comparison).
# Valid input: a grey image, all of one value, as a tensor of shape (3, 64, 64).
# Seen: GaussianSmooth(sigma=2) and RandGaussianSmooth darken its border: pixels at an edge fall to
#   three fifths of their value, those at a corner to about a third. They filter with zeros beyond
#   the image, and neither has an option for it. So an image whose content reaches its border, such
#   as a crop, gets a dark frame that grows with sigma; as a random augmentation, one of random
#   width. scipy.ndimage.gaussian_filter (mode="nearest") returns the image unchanged.
# Expected: an image of one value stays of this value, as after other filters' reflecting or
#   replicating padding; or that the documentation says so.
# What a user can do: pad the image by 4 sigma with mode="replicate" before and crop after, or
#   take SciPy's filter.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    monai==1.6.1 torch==2.13.0 scipy==1.17.1

cat > "$tmp/show.py" <<'PY'
import sys
from importlib.metadata import version

import torch
from monai.transforms import GaussianSmooth, RandGaussianSmooth
from scipy.ndimage import gaussian_filter

print(*(f"{name} {version(name)}" for name in ("monai", "torch", "scipy")))
image = torch.full((3, 64, 64), 0.5)
results = {
    "GaussianSmooth(sigma=2)": GaussianSmooth(sigma=2.0)(image),
    "RandGaussianSmooth, sigma 2": RandGaussianSmooth((2, 2), (2, 2), prob=1.0)(image),
    "scipy.ndimage.gaussian_filter": torch.from_numpy(
        gaussian_filter(image.numpy(), 2.0, mode="nearest", axes=(1, 2))
    ),
}
seen = []
for name, smooth in results.items():
    centre, edge, corner = (float(smooth[0, r, c]) / 0.5 for r, c in ((32, 32), (0, 32), (0, 0)))
    print(f"{name}: centre {centre:.3f}, edge {edge:.3f}, corner {corner:.3f} of the value")
    seen.append((centre > 0.999, edge < 0.65, corner < 0.4))
dark = (True, True, True)
sys.exit(seen != [dark, dark, (True, False, False)])
PY
"$tmp/venv/bin/python" "$tmp/show.py"
