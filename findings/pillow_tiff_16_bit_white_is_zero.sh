#!/usr/bin/env bash
# Package: pillow 13.0.0 (files written by tifffile 2026.3.3).
# Valid input: a grey TIFF file in which 0 is white (PhotometricInterpretation 0, as
#   scanners write it), of 8 and of 16 bits.
# Seen: of 8 bits Pillow returns inverted values, 0 is black. Of 16 bits it returns
#   the stored ones, 0 is white, without a word: a mask is read as its negative.
# Expected: the same convention for both depths, or an error.
# What a user can do: if image.tag_v2.get(262) == 0 and image.mode is "I;16", take
#   65535 minus the values.
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


def read(dtype):
    white = np.iinfo(dtype).max
    stored = np.full((20, 30), white, dtype)  # black paper ...
    stored[8:12] = 0  # ... with a white line
    file = io.BytesIO()
    tifffile.imwrite(file, stored, photometric="miniswhite")
    file.seek(0)
    image = Image.open(file)
    line, paper = (int(np.array(image)[row, 0]) for row in (9, 0))
    print(f"{8 * dtype().itemsize:2} bits, mode {image.mode}: line {line}, paper {paper}")
    return line > paper


sys.exit((read(np.uint8), read(np.uint16)) != (True, False))
PY
"$tmp/venv/bin/python" "$tmp/show.py"
