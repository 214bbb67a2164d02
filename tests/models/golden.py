"""What the presets give for fixed seeds: `python tests/models/golden.py` records it anew.

Keys, shapes, initial weights and outputs of a preset are public: trained weights stand on them.
"""

import json
from functools import partial
from pathlib import Path

import torch
from torch import nn

from torchattn_blocks import (
    attention_unet,
    backbone,
    backbone_dropblock,
    rsan,
    sa_unet,
    sd_unet,
    unet,
)

RECORD = Path(__file__).with_suffix(".json")
CASES = {
    f"{preset.__name__}, up_kernel_size={size}": partial(preset, up_kernel_size=size)
    for preset in (unet, backbone, backbone_dropblock, rsan, sd_unet, sa_unet)
    for size in (2, 3, 4)
}
CASES["attention_unet"] = attention_unet


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


def seeded(case: str) -> nn.Module:
    torch.manual_seed(0)
    return CASES[case]()


def main() -> None:
    record = {case: found(seeded(case)) for case in CASES}
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
