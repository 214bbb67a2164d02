#!/usr/bin/env bash
# Package: torchvision 0.28.0 (seen with torch 2.13.0, on a CPU).
# Valid input: torchvision.ops.DropBlock2d(p=0.15, block_size=7) in training mode, on ones of type
#   float16 and shape (2, 16, 64, 64), as under torch.float16 on any feature map of this size.
# Seen: the output is zero everywhere. With (2, 16, 32, 32), in float32 and in bfloat16 the mean is
#   about 1. There is no error or warning. The mask is summed in the type of the input: from 65,520
#   kept elements on the sum is infinite in float16, and the mask is divided by it.
# Expected: a mean of about 1, as for the other types.
# What a user can do: call it in float32 (layer(x.float()).to(x.dtype)), or use bfloat16.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
pip=("$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 pillow
"${pip[@]}" --no-deps torchvision==0.28.0

cat > "$tmp/show.py" <<'PY'
from importlib.metadata import version

import torch

# torchvision's wheel for CUDA does not load its operators beside a CPU-only torch, and asks for two.
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.ops import DropBlock2d

print(*(f"{name} {version(name)}" for name in ("torch", "torchvision")))
layer = DropBlock2d(p=0.15, block_size=7).train()
means = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for side in (32, 64):
        torch.manual_seed(0)
        out = layer(torch.ones(2, 16, side, side, dtype=dtype))
        means[dtype, side] = out.float().mean().item()
        print(f"{dtype}, 2 x 16 x {side} x {side}: mean of the output {means[dtype, side]:.3f}")

assert means.pop((torch.float16, 64)) == 0, "the output in float16 is not zero any more"
assert all(abs(mean - 1) < 0.05 for mean in means.values())
print("\nIn float16 the output of torchvision's DropBlock2d is zero from 65,520 kept elements on.")
PY
(cd "$tmp" && "$tmp/venv/bin/python" show.py)
