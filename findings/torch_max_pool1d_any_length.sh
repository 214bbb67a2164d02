#!/usr/bin/env bash
# Package: torch 2.13.0, on a CPU.
# Valid input: a module whose only layer is nn.MaxPool1d(2), on (2, 3, 17), exported with a
#   named length (Dim("length", min=4, max=4096)), exported with one that torch may choose
#   (Dim.AUTO), and compiled with dynamic=True.
# Seen: in one dimension export with a named length is refused ("Constraints violated");
#   with Dim.AUTO it succeeds, and the program raises for every other length; compiled code
#   is compiled again for each length, although dynamic=True. MaxPool2d, MaxPool3d and
#   AvgPool1d do none of it.
# Expected: as in two and three dimensions.
# What a user can do: F.max_pool1d(x, ..., return_indices=True)[0] goes another way and takes
#   any length (shown below), with equal outputs.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

cat > "$tmp/show.py" <<'PY'
import platform
import sys
import warnings

import torch
from torch import nn
from torch.export import Dim, export
from torch.nn import functional as F

warnings.simplefilter("ignore")
torch.set_num_threads(1)
print("python", platform.python_version(), "torch", torch.__version__)


class WithIndices(nn.Module):
    def forward(self, x):
        return F.max_pool1d(x, 2, return_indices=True)[0]


def data(dims, length):
    return torch.rand(2, 3, *[6] * (dims - 1), length)


def seen(make, dims):
    """Named export, other lengths of an export by Dim.AUTO, compilations for five lengths."""
    axis, name = dims + 1, type(make()).__name__
    try:
        export(make(), (data(dims, 17),), dynamic_shapes=({axis: Dim("length", min=4, max=4096)},))
        named = "exported"
    except Exception as error:
        named = "refused: " + str(error).partition("!")[0][:24]
    program = export(make(), (data(dims, 17),), dynamic_shapes=({axis: Dim.AUTO},)).module()
    failed = 0
    for length in (12, 23, 40):
        try:
            program(data(dims, length))
        except Exception:
            failed += 1
    torch._dynamo.reset()
    count = 0

    def backend(graph, inputs):
        nonlocal count
        count += 1
        return graph.forward

    compiled = torch.compile(make(), backend=backend, dynamic=True)
    for length in (17, 12, 23, 40, 31):
        compiled(data(dims, length))
    print(f"{name:12} named: {named:34} other lengths that fail: {failed} of 3   compiled {count} times")
    return named, failed, count


rows = {
    "max 1": seen(lambda: nn.MaxPool1d(2), 1),
    "mean 1": seen(lambda: nn.AvgPool1d(2), 1),
    "max 2": seen(lambda: nn.MaxPool2d(2), 2),
    "max 3": seen(lambda: nn.MaxPool3d(2), 3),
    "with indices": seen(WithIndices, 1),
}
x = data(1, 17)
equal = torch.equal(nn.MaxPool1d(2)(x), WithIndices()(x))
print("outputs with indices equal:", equal)
ok = equal and rows["max 1"] == ("refused: Constraints violated (le", 3, 5)
ok &= all(row == ("exported", 0, 1) for name, row in rows.items() if name != "max 1")
print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
