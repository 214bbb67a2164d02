#!/usr/bin/env bash
# Package: torchinfo 1.8.0 (seen with torch 2.13.0, on a CPU).
# Valid input: summary() of nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2), the upsampling of a
#   U-Net, on a feature map of (1, 64, 32, 32).
# Seen: total_mult_adds counts each weight once for each position of the OUTPUT: 33.6 million. A
#   transposed convolution uses each weight once for each position of its input: 8.4 million, which
#   is what torch.utils.flop_counter counts (16.8 million operations, two for a product and a sum).
#   With stride 2 the number is 4 times too large, with stride 4 16 times. Of nn.Conv2d with stride 2
#   both count the same.
# Expected: the same number as for the convolution that it is the transpose of.
# What a user can do: take torch.utils.flop_counter.FlopCounterMode, and half of what it counts.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
pip=("$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 torchinfo==1.8.0

cat > "$tmp/show.py" <<'PY'
from importlib.metadata import version

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

print(*(f"{name} {version(name)}" for name in ("torch", "torchinfo")))
layers = {
    "ConvTranspose2d, stride 2": (nn.ConvTranspose2d(64, 32, 2, stride=2, bias=False), 4),
    "ConvTranspose2d, stride 4": (nn.ConvTranspose2d(64, 32, 4, stride=4, bias=False), 16),
    "Conv2d, stride 2": (nn.Conv2d(64, 32, 2, stride=2, bias=False), 1),
}
for name, (layer, seen) in layers.items():
    x = torch.rand(1, 64, 32, 32)
    told = summary(layer, input_data=x, verbose=0).total_mult_adds
    with FlopCounterMode(display=False) as counter:
        layer(x)
    counted = counter.get_total_flops() // 2
    print(f"{name}: torchinfo {told:,} mult-adds, torch {counted:,}: {told / counted:.0f} times")
    assert told == seen * counted, f"torchinfo counts {name} in another way now"
print("\ntorchinfo counts transposed convolutions stride x stride times.")
PY
(cd "$tmp" && "$tmp/venv/bin/python" show.py)
