"""What the presets give for fixed seeds: `python tests/models/golden.py` records it anew.

Keys, shapes, initial weights and outputs of a preset are public: trained weights stand on them.
"""

import json
from pathlib import Path

import torch
from torch import nn

from torchattn_blocks import backbone, backbone_dropblock, rsan, unet

RECORD = Path(__file__).with_suffix(".json")
PRESETS = {preset.__name__: preset for preset in (unet, backbone, backbone_dropblock, rsan)}


def found(model: nn.Module) -> dict[str, list[float]]:
    """Logits along a diagonal, of an image whose sides are no multiples of 8, in both modes."""
    torch.manual_seed(1)
    x = torch.rand(2, 3, 61, 46)
    outputs = {}
    with torch.no_grad():
        for mode in ("training", "evaluation"):
            y = model.train(mode == "training")(x)
            outputs[mode] = y[1, 0, ::4, ::3].diagonal().tolist()
    return outputs


def seeded(name: str, up_kernel_size: int) -> nn.Module:
    torch.manual_seed(0)
    return PRESETS[name](up_kernel_size=up_kernel_size)


def main() -> None:
    record = {
        f"{name}, up_kernel_size={size}": found(seeded(name, size))
        for name in PRESETS
        for size in (2, 3, 4)
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
