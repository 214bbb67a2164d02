#!/usr/bin/env bash
# Package: torch 2.13.0 (its compiler, inductor, on a CPU).
# Valid input: a spatial attention whose statistics are stacked: maximum and mean over the channels,
#   each of shape (N, H, W), by torch.stack to (N, 2, H, W), a convolution to one channel, a sigmoid,
#   the product with the input. It is compiled with dynamic=True, and its input requires a gradient.
# Seen: the first call raises InductorError, "TypeError: cannot determine truth value of
#   Relational", while the backward graph is compiled. The same layer runs in eager mode, with
#   dynamic=False, without gradients, with the backend aot_eager, and also compiled with
#   dynamic=True if the statistics keep their axis (keepdim=True) and torch.cat puts them together,
#   which gives the same values.
# Expected: compiled code, or at least no difference between stack and cat.
# What a user can do: write torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1).
#   Statistics along another axis need x.transpose(1, axis) first, and the same along axis 1.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 TORCHINDUCTOR_CACHE_DIR="$tmp/cache"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 setuptools

cat > "$tmp/show.py" <<'PY'
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")
print("torch", torch.__version__)


class Attention(nn.Module):
    def __init__(self, stacked, axis=1):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)
        self.stacked, self.axis = stacked, axis

    def forward(self, x):
        turned = x.transpose(1, self.axis)
        if self.stacked:
            summary = torch.stack([x.amax(self.axis), x.mean(self.axis)], 1)
            weights = self.conv(summary).sigmoid().squeeze(1).unsqueeze(self.axis)
        else:
            summary = torch.cat([turned.amax(1, keepdim=True), turned.mean(1, keepdim=True)], 1)
            weights = self.conv(summary).sigmoid().transpose(1, self.axis)
        return x * weights


def error(layer, *, gradient=True, **options):
    """The error of training compiled code on feature maps of two sizes, or nothing."""
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, **options)
    try:
        for shape in ((2, 4, 9, 11), (3, 4, 20, 7)):
            x = torch.randn(shape, requires_grad=gradient)
            with torch.set_grad_enabled(gradient):
                y = compiled(x)
            if gradient:
                y.square().sum().backward()
            torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-4)
    except Exception as problem:
        return f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
    return ""


torch.manual_seed(0)
stacked, joined = Attention(True), Attention(False)
joined.load_state_dict(stacked.state_dict())
x = torch.randn(2, 4, 9, 11)
same = torch.equal(stacked(x), joined(x))
found = {
    "stack, dynamic": error(stacked, dynamic=True),
    "stack, static": error(stacked, dynamic=False),
    "stack, dynamic, no gradient": error(stacked, dynamic=True, gradient=False),
    "stack, dynamic, aot_eager": error(stacked, dynamic=True, backend="aot_eager"),
    "cat, dynamic": error(joined, dynamic=True),
    "cat of turned maps, dynamic": error(Attention(False, 3), dynamic=True),
}
print("the two forms are equal in eager mode:", same)
for name, message in found.items():
    print(f"{name:30} {message or 'runs'}")

failing = found.pop("stack, dynamic")
ok = same and "cannot determine truth value of Relational" in failing and not any(found.values())
print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
