#!/usr/bin/env bash
# Package: opacus 1.6.0 (seen with torch 2.13.0, on a CPU).
# Valid input: a plain network of two Conv2d layers, wrapped in GradSampleModule,
#   whose convolutions are given activations in channels_last memory: either
#   network and batch are both moved to channels_last, or the activations become
#   channels_last inside the network.
# Seen: grad_sample of the weight of each such Conv2d is wrong by about its own
#   size. Its sum over the batch differs from .grad of the same backward pass, and
#   its rows differ from gradients taken one sample at a time. There is no error
#   and no warning about it. The outputs, .grad and the biases' grad_sample are right.
# Expected: memory format changes strides, not values, so the same per-sample
#   gradients as with contiguous memory, which are right.
# What a user can do: keep network and batch contiguous, and call .contiguous() on
#   what enters a Conv2d; or wrap with force_functorch=True, which is right here.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 opacus==1.6.0

cat > "$tmp/show.py" <<'PY'
import copy
import platform
import sys
import warnings
from importlib.metadata import version

import torch
from opacus import GradSampleModule
from torch import nn

torch.set_num_threads(1)
print("python", platform.python_version(), *(f"{p} {version(p)}" for p in ("torch", "opacus")))


class ToChannelsLast(nn.Module):
    def forward(self, x):
        return x.contiguous(memory_format=torch.channels_last)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def errors(whole, inside, **wrap):
    """For each parameter: error of the summed rows, error of the rows; then warnings seen."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        ToChannelsLast() if inside else nn.Identity(),
        nn.Conv2d(8, 4, 3, padding=1),
    )
    x, weights = torch.randn(5, 3, 10, 10), torch.randn(5, 4, 10, 10)

    # Truth: one sample at a time through an unwrapped, contiguous copy.
    plain = copy.deepcopy(net)
    plain[2] = nn.Identity()
    rows = [
        torch.autograd.grad((plain(x[i : i + 1]) * weights[i : i + 1]).sum(), list(plain.parameters()))
        for i in range(len(x))
    ]
    truth = [torch.stack(r) for r in zip(*rows)]

    if whole:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    wrapped = GradSampleModule(net, loss_reduction="sum", **wrap)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        y = wrapped(x)
        (y * weights).sum().backward()
    found = {}
    for (name, p), t in zip(net.named_parameters(), truth):
        assert relative(p.grad, t.sum(0)) < 1e-4, "the ordinary gradient is expected to be right"
        found[name] = relative(p.grad_sample.sum(0), p.grad), relative(p.grad_sample, t)
    about = [str(w.message) for w in seen]
    return found, [m for m in about if "channels_last" in m or "memory format" in m or "stride" in m]


ok = True
wrong = {"0.weight", "3.weight"}
for title, expected_wrong, args, wrap in (
    ("contiguous memory", set(), (False, False), {}),
    ("network and batch channels_last", wrong, (True, False), {}),
    ("channels_last from inside the network", {"3.weight"}, (False, True), {}),
    ("network and batch channels_last, force_functorch", set(), (True, False), {"force_functorch": True}),
):
    found, told = errors(*args, **wrap)
    print(f"\n{title}")
    print("  parameter   sum of grad_sample against .grad   grad_sample against one by one")
    for name, (summed, each) in found.items():
        held = min(summed, each) > 0.5 if name in expected_wrong else max(summed, each) < 1e-4
        ok &= held
        print(f"  {name:10}  {summed:32.1%}   {each:30.1%}{'' if held else '   <- not as recorded'}")
    print("  warnings about memory format:", told or "none")
    ok &= not told

print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
