#!/usr/bin/env bash
# Package: monai 1.6.1 (seen with torch 2.13.0, on a CPU).
# Valid input: SoftclDiceLoss() with its default of three iterations, on masks with
#   one straight vessel, and a prediction of nothing (all zeros).
# Seen: for a vessel of 8 pixels the loss of predicting nothing is .99; for one of 9
#   or 16 pixels it is below .0001, that of a perfect prediction. There is no error
#   and no warning: the soft skeleton of a vessel wider than 2 * iter_ + 2 is empty.
# Expected: the loss of predicting nothing is near 1 for every vessel, or a warning.
# What a user can do: pass iter_ of at least (widest vessel - 2) / 2, in pixels.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 monai==1.6.1

cat > "$tmp/show.py" <<'PY'
import sys
import warnings
from importlib.metadata import version

import torch

warnings.simplefilter("ignore")
from monai.losses import SoftclDiceLoss

print(*(f"{name} {version(name)}" for name in ("monai", "torch")))


def of_nothing(width, **options):
    mask = torch.zeros(1, 1, 96, 96)
    mask[:, :, 20 : 20 + width] = 1
    return SoftclDiceLoss(**options)(torch.zeros_like(mask), mask).item()


losses = {width: of_nothing(width) for width in (2, 8, 9, 16)}
enough = {width: of_nothing(width, iter_=7) for width in losses}
for width in losses:
    print(f"{width:2} px: {losses[width]:.4f} by default, {enough[width]:.4f} with iter_=7")
seen = losses[8] > 0.9 and max(losses[9], losses[16]) < 0.001 and min(enough.values()) > 0.9
sys.exit(not seen)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
