#!/usr/bin/env bash
# Package: pillow 13.0.0 (files written by tifffile 2026.3.3).
# Valid input: an RGB TIFF file of 16 bits per channel, uncompressed, stored plane by
#   plane (PlanarConfiguration 2), as scientific cameras and tifffile write it.
# Seen: Image.open(path).convert("RGB") returns noise, under 3 % of the values right,
#   without an error. The same image in one plane, in 8 bits, or compressed by zlib
#   is read right.
# Expected: the upper 8 bits, as for the other layouts, or an error.
# What a user can do: read such files with tifffile.imread.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6

cat > "$tmp/show.py" <<'PY'
import io
import sys
from importlib.metadata import version

import numpy as np
import tifffile
from PIL import Image

print(*(f"{name} {version(name)}" for name in ("pillow", "tifffile")))
values = np.random.default_rng(0).integers(0, 65536, (120, 160, 3), np.uint16)


def right(planes, bits, compression):
    """The share of values that Pillow reads right."""
    image = values if bits == 16 else (values >> 8).astype(np.uint8)
    stored = np.moveaxis(image, -1, 0) if planes == "separate" else image
    file = io.BytesIO()
    tifffile.imwrite(file, stored, photometric="rgb", planarconfig=planes, compression=compression)
    file.seek(0)
    return (np.array(Image.open(file).convert("RGB")) == values >> 8).mean()


cases = [(p, b, c) for p in ("contig", "separate") for b in (8, 16) for c in (None, "zlib")]
shares = {case: right(*case) for case in cases}
for case, share in shares.items():
    print(*case, f"{share:.1%} right")
wrong = {case for case, share in shares.items() if share < 1}
sys.exit(wrong != {("separate", 16, None)} or bool(shares["separate", 16, None] > 0.03))
PY
"$tmp/venv/bin/python" "$tmp/show.py"
