#!/usr/bin/env bash
# Package: baal 2.1.0 (seen with torch 2.13.0, on a CPU).
# Valid input: baal.bayesian.dropout.patch_module(net) of networks with nn.Dropout1d, nn.Dropout2d and
#   nn.Dropout3d, in evaluation mode, for Monte-Carlo dropout.
# Seen: nn.Dropout and nn.Dropout2d are replaced and stay random in evaluation. nn.Dropout1d and
#   nn.Dropout3d are left as they are: passes over one input are all the same. A network that has no
#   other dropout gets a UserWarning ("No layer was modified by patch_module!"); one that also has
#   nn.Dropout gets none, and its spread says nothing about the dropout in its volumes.
# Expected: all dropout layers of torch, or a warning that names those that were left.
# What a user can do: after net.eval(), call train() on each module that is an instance of
#   torch.nn.modules.dropout._DropoutNd, the base of them all.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
pip=("$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6
"${pip[@]}" "structlog<23" h5py matplotlib pillow requests scikit-learn scipy torchmetrics==1.9.0 tqdm
"${pip[@]}" --no-deps baal==2.1.0

cat > "$tmp/show.py" <<'PY'
import warnings
from importlib.metadata import version

import torch
from torch import nn

from baal.bayesian.dropout import patch_module

print(*(f"{name} {version(name)}" for name in ("torch", "baal")))


def spread(*layers: nn.Module, dimensions: int) -> tuple[float, list[str]]:
    """Of the outputs of eight passes over one input, and what baal warns of."""
    net = nn.Sequential(*layers).eval()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        net = patch_module(net)
    x = torch.ones(1, 16, *[4] * dimensions)
    passes = torch.stack([net(x) for _ in range(8)])
    return passes.std(0).mean().item(), [str(one.message) for one in told]


torch.manual_seed(0)
seen = {
    "Dropout2d": spread(nn.Dropout2d(), dimensions=2),
    "Dropout1d": spread(nn.Dropout1d(), dimensions=1),
    "Dropout3d": spread(nn.Dropout3d(), dimensions=3),
    "Dropout(.01), then Dropout3d(.5)": spread(nn.Dropout(0.01), nn.Dropout3d(), dimensions=3),
}
for name, (deviation, told) in seen.items():
    print(f"{name}: standard deviation {deviation:.3f} of eight passes, warnings: {told or 'none'}")

assert seen["Dropout2d"][0] > 0.5
assert seen["Dropout1d"][0] == seen["Dropout3d"][0] == 0, "baal finds all dropout layers now"
deviation, told = seen["Dropout(.01), then Dropout3d(.5)"]
assert 0 < deviation < 0.2
assert not told, "baal names what it leaves now"
print("\nbaal's patch_module leaves Dropout1d and Dropout3d, and says so only if it finds nothing else.")
PY
(cd "$tmp" && "$tmp/venv/bin/python" show.py)
