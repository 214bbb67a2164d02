#!/usr/bin/env bash
# Package: torch-pruning 1.6.1 (seen with torch 2.13.0, on a CPU).
# Valid input: MagnitudePruner with pruning_ratio=0.5 on a small network with
#   spatial attention in plain torch: features are multiplied by the sigmoid of a
#   convolution from (max, mean over channels) to ONE channel, which broadcasts.
# Seen: the features that are multiplied by that one-channel map are left at full
#   width (16 of 16). No warning, nothing printed. Other layers are halved. The same
#   network without the product is halved throughout. Listing the one-channel
#   convolution in ignored_layers changes nothing.
# Expected: the map broadcasts over channels, so it need not hold back the features
#   it multiplies; or at least a message that they were left out.
# What a user can do: make that convolution a class of its own and pass, for that
#   class, a pruner that removes nothing in customized_pruners (one function for both
#   directions, no channel counts), and do NOT also list it in ignored_layers: then
#   the features are halved too and the widths agree. Compare the widths afterwards.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 torch-pruning==1.6.1

cat > "$tmp/show.py" <<'PY'
import contextlib
import copy
import io
import logging
import platform
import sys
import warnings
from importlib.metadata import version

import torch
import torch_pruning as tp
from torch import nn

torch.set_num_threads(1)
print("python", platform.python_version(), *(f"{p} {version(p)}" for p in ("torch", "torch-pruning")))


class GateConv(nn.Conv2d):
    """A Conv2d with a name of its own, so that a pruner can be given for it alone."""


class KeepAll(tp.pruner.BasePruningFunc):
    """A pruner that removes nothing."""

    def prune_out_channels(self, layer, idxs):
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer):
        return None

    def get_in_channels(self, layer):
        return None


class Net(nn.Module):
    def __init__(self, product):
        super().__init__()
        self.product = product
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 16, 3, padding=1)
        self.gate = GateConv(2, 1, 7, padding=3)
        self.c = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        if self.product:
            pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
            x = x * torch.sigmoid(self.gate(pooled))
        return self.head(torch.relu(self.c(x)).mean((2, 3)))


def prune(product, ignore_gate=False, keep_gate=False):
    """The widths after pruning, and what was said meanwhile."""
    torch.manual_seed(0)
    net = Net(product).eval()
    before = copy.deepcopy(net)
    x = torch.randn(2, 3, 16, 16)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    with (
        warnings.catch_warnings(record=True) as seen,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("always")
        tp.pruner.MagnitudePruner(
            net,
            x,
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=[net.head] + [net.gate] * ignore_gate,
            customized_pruners={GateConv: KeepAll()} if keep_gate else None,
        ).step()
    logging.getLogger().removeHandler(handler)
    assert net(x).shape == (2, 10)
    # The channels kept at the output of b must be those kept at the input of c.
    kept_b = [before.b.bias.tolist().index(v) for v in net.b.bias.tolist()]
    kept_c = [before.c.bias.tolist().index(v) for v in net.c.bias.tolist()]
    assert torch.equal(net.c.weight, before.c.weight[kept_c][:, kept_b])
    widths = {n: (m.in_channels, m.out_channels) for n, m in net.named_children() if isinstance(m, nn.Conv2d)}
    return widths, [str(w.message) for w in seen] + said.getvalue().splitlines()


halved = {"a": (3, 8), "b": (8, 8), "gate": (2, 1), "c": (8, 8)}
held_back = {"a": (3, 8), "b": (8, 16), "gate": (2, 1), "c": (16, 8)}
ok = True
print("\nfull width: a (3, 16)  b (16, 16)  gate (2, 1)  c (16, 16); asked for: half; (in, out) seen:")
for title, args, expected in (
    ("without the product", {"product": False}, halved),
    ("with the product", {"product": True}, held_back),
    ("with the product, gate in ignored_layers", {"product": True, "ignore_gate": True}, held_back),
    ("with the product, gate keeps all by customized_pruners", {"product": True, "keep_gate": True}, halved),
    (
        "with the product, customized_pruners and ignored_layers",
        {"product": True, "keep_gate": True, "ignore_gate": True},
        held_back,
    ),
):
    widths, told = prune(**args)
    held = widths == expected and not told
    ok &= held
    print(f"\n{title}{'' if held else '   <- not as recorded'}")
    print("  ", *(f"{n} {w} " for n, w in widths.items()))
    print("   said meanwhile:", told or "nothing")

print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
