#!/usr/bin/env bash
# Package: timm 1.0.31 (seen with torch 2.13.0, on a CPU).
# Valid input: timm.layers.DropBlock2d(drop_prob=p, block_size=7) in training mode, on ones of shape
#   (512, 64, 7, 7) and (256, 64, 14, 14): the two last stages of a ResNet on images of 224, where
#   its networks put it (drop_block_rate).
# Seen: asked to drop .10 it drops .93 of a 7 x 7 map, and asked for .15 it drops .98. On 14 x 14 it
#   drops .21 and .30. There is no error or warning. On 56 x 56 it is near what was asked. The rate
#   of block centres has the paper's correction for a border where none may lie, but the centres lie
#   everywhere, also on the border.
# Expected: about the fraction that was asked for. The paper's formula, with centres where whole
#   blocks fit, drops .09 to .10 on these sizes when asked for .10.
# What a user can do: on small feature maps take a lower rate, chosen by the measured fraction; or a
#   block_size well below the side of the feature map.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
pip=("$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6
"${pip[@]}" pyyaml pillow huggingface_hub==2.4.0 safetensors==0.8.0
"${pip[@]}" --no-deps torchvision==0.28.0 timm==1.0.31

cat > "$tmp/show.py" <<'PY'
from importlib.metadata import version

import torch

# torchvision's wheel for CUDA does not load its operators beside a CPU-only torch, and asks for two.
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from timm.layers import DropBlock2d

print(*(f"{name} {version(name)}" for name in ("torch", "timm")))
torch.manual_seed(0)
dropped = {}
for side, samples in ((7, 512), (14, 256), (56, 16)):
    for p in (0.10, 0.15):
        layer = DropBlock2d(drop_prob=p, block_size=7, couple_channels=False).train()
        out = layer(torch.ones(samples, 64, side, side))
        dropped[side, p] = (out == 0).float().mean().item()
        print(f"{side} x {side}, asked {p:.2f}: dropped {dropped[side, p]:.3f}")

assert dropped[7, 0.10] > 0.8, "timm's DropBlock2d drops about what it is asked for on 7 x 7"
assert dropped[14, 0.15] > 0.25, "timm's DropBlock2d drops about what it is asked for on 14 x 14"
assert abs(dropped[56, 0.15] - 0.15) < 0.03
print("\nOn small feature maps timm's DropBlock2d drops far more than it is asked to.")
PY
(cd "$tmp" && "$tmp/venv/bin/python" show.py)
