#!/usr/bin/env bash
# Package: lightning 2.6.6 (seen with torch 2.13.0, on a CPU).
# Valid input: a network in evaluation mode, with a batch norm, through
#   TorchSyncBatchNorm().apply(net) and then .revert(net).
# Seen: apply keeps evaluation mode, but revert returns the batch norms in TRAINING
#   mode while every other module stays in evaluation mode. There is no error or
#   warning; the next evaluation normalises by its own batch and moves the running
#   statistics.
# Expected: revert undoes apply, so the mode of each batch norm is kept, and the
#   outputs and running statistics with it.
# What a user can do: call net.eval() after revert; or, where only some batch norms
#   were in evaluation mode (frozen ones), note each layer's .training before and set
#   it again after. Then outputs are as before apply.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 lightning==2.6.6

cat > "$tmp/show.py" <<'PY'
import platform
import sys
import warnings
from importlib.metadata import version

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn

torch.set_num_threads(1)
print("python", platform.python_version(), *(f"{p} {version(p)}" for p in ("torch", "lightning")))


def modes(net):
    return {f"{n or 'net'} {type(m).__name__}": "training" if m.training else "evaluation" for n, m in net.named_modules()}


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    for _ in range(20):
        net(torch.randn(8, 3, 8, 8))  # gives the running statistics some values
    return net.eval()


@torch.no_grad()
def passes(eval_after):
    """Modes after revert, change of the output, change of the running mean, batches counted."""
    net = network()
    x = 3 * torch.randn(6, 3, 8, 8) + 1
    before, mean, count = net(x), net[1].running_mean.clone(), int(net[1].num_batches_tracked)
    sync = TorchSyncBatchNorm()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        applied = sync.apply(net)
        after_apply = modes(applied)
        net = sync.revert(applied)
    after_revert = modes(net)
    if eval_after:
        net.eval()
    after = net(x)
    return (
        after_apply,
        after_revert,
        float((after - before).abs().max()),
        float((net[1].running_mean - mean).abs().max()),
        int(net[1].num_batches_tracked) - count,
        [str(w.message) for w in seen],
    )


print("\nbefore apply:", modes(network()))
after_apply, after_revert, output, mean, batches, told = passes(eval_after=False)
print("after apply: ", after_apply)
print("after revert:", after_revert)
print("warnings:", told or "none")
print(f"evaluation after revert: output changes by up to {output:.4f}, running mean by {mean:.4f}, batches counted {batches}")
in_training = [n.split()[0] for n, m in after_revert.items() if m == "training"]
ok = set(after_apply.values()) == {"evaluation"} and in_training == ["1"]
ok &= output > 0.1 and mean > 0.01 and batches == 1 and not told

*_, output, mean, batches, _ = passes(eval_after=True)
print(f"with net.eval() after revert: output changes by up to {output:.4f}, running mean by {mean:.4f}, batches counted {batches}")
ok &= output < 1e-5 and mean == 0 and batches == 0

print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
