#!/usr/bin/env bash
# Package: segmentation_models_pytorch 0.6.0 with huggingface_hub 2.4.0 (seen with torch 2.13.0,
#   torchvision 0.28.0 and timm 1.0.31, on a CPU).
# Valid input: smp.Unet("resnet18", encoder_weights=None, activation=nn.Softplus): the documentation
#   of `activation` names a callable as one of its values. Then save_pretrained to a folder, and
#   smp.from_pretrained of this folder.
# Seen: config.json has "activation": null, which is the default. The network that is loaded has no
#   activation, and its outputs differ (the Softplus of a logit against the logit). There is no
#   error or warning, neither when it is saved nor when it is loaded. The cause is in
#   huggingface_hub: its mixin notes the default of every argument, and replaces it by the value
#   that was given only if JSON can hold that. A class of one's own with
#   PyTorchModelHubMixin does the same.
# Expected: an error or a warning that names the argument, or the network as it was.
# What a user can do: give strings where they exist ("sigmoid"), or set the layer again after
#   loading (model.segmentation_head[2] in smp); with a class of one's own, give the mixin `coders`
#   for the type, or refuse callables.
# Exit status: 0 while this is seen, non-zero once the behaviour has changed.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$tmp/venv"
pip=("$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 huggingface_hub==2.4.0 safetensors==0.8.0 pillow tqdm pyyaml
"${pip[@]}" --no-deps torchvision==0.28.0 timm==1.0.31 segmentation_models_pytorch==0.6.0

cat > "$tmp/show.py" <<'PY'
import json
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

# torchvision's wheel for CUDA does not load its operators beside a CPU-only torch, and asks for two.
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import segmentation_models_pytorch as smp

packages = ("torch", "torchvision", "timm", "huggingface_hub", "segmentation_models_pytorch")
print(*(f"{p} {version(p)}" for p in packages))


class Own(nn.Module, PyTorchModelHubMixin):
    def __init__(self, activation=None):
        super().__init__()
        self.activation = activation() if activation else nn.Identity()

    def forward(self, x):
        return self.activation(x)


def there_and_back(model, load):
    """The config, the network that comes back, and what was warned of."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.save_pretrained(folder)
        config = json.loads(Path(folder, "config.json").read_text())
        again = load(folder).eval()
    return config, again, [str(one.message) for one in told if "activation" in str(one.message)]


torch.manual_seed(0)
x = torch.rand(1, 3, 64, 64)
model = smp.Unet("resnet18", encoder_weights=None, activation=nn.Softplus).eval()
config, again, told = there_and_back(model, smp.from_pretrained)
with torch.no_grad():
    before, after = model(x), again(x)
    undone = (nn.functional.softplus(after) - before).abs().max().item()
print("\nconfig.json: activation:", config["activation"], "| warnings:", told or "none")
print("saved: ", model.segmentation_head[2].activation)
print("loaded:", again.segmentation_head[2].activation)
change = (after - before).abs().max().item()
print(f"outputs change by up to {change:.3f}; with the Softplus put back by {undone:.1e}")
ok = config["activation"] is None and not told and change > 0.1 and undone < 1e-5
ok &= isinstance(model.segmentation_head[2].activation, nn.Softplus)
ok &= isinstance(again.segmentation_head[2].activation, nn.Identity)

model = smp.Unet("resnet18", encoder_weights=None, activation="sigmoid").eval()
config, again, _ = there_and_back(model, smp.from_pretrained)
with torch.no_grad():
    same = torch.equal(model(x), again(x))
print('with activation="sigmoid" the network comes back as it was:', same)
ok &= same

config, again, told = there_and_back(Own(nn.Softplus).eval(), Own.from_pretrained)
print("\na class of one's own: config.json:", config, "| loaded:", again.activation, "| warnings:", told or "none")
ok &= isinstance(again.activation, nn.Identity) and not told

print("\nas recorded" if ok else "\nCHANGED: not as recorded")
sys.exit(not ok)
PY
"$tmp/venv/bin/python" "$tmp/show.py"
