"""DropBlock and CBAM in timm's ResNet-18, trained on synthetic retinal vessels.

python examples/hosts/timm_resnet.py
"""

import timm
import torch
from torch import nn
from vessels import Segmenter, arguments, panels, save_picture, spread, train

from torchattn_blocks import (
    CBAM,
    DropBlock2d,
    DropSchedule,
    IdentityStart,
    attention_maps,
    insert_after,
    out_channels,
)


# The network, and the network with DropBlock and CBAM.
def network() -> nn.Module:
    # pretrained=True loads timm's ImageNet weights.
    return timm.create_model("resnet18", pretrained=False, features_only=True)


def changed(network: nn.Module) -> nn.Module:
    network = insert_after(network, "layer[34].*.bn?", lambda norm: DropBlock2d(0.1, block_size=3))
    return insert_after(network, "layer?.*", lambda block: IdentityStart(CBAM(out_channels(block))))


# The end of what the documentation shows.


def levels(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return network(x)


def main() -> None:
    args = arguments("timm_resnet", steps=100)
    torch.manual_seed(0)
    sizes = {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}
    model = Segmenter(changed(network()), levels, sizes)
    schedule = DropSchedule(model, start=0.0, stop=None, steps=max(1, args.steps // 2))
    train(model, args.steps, args.side, schedule)
    x, shown = panels(model, args.side)
    shown["spread of 20 passes"] = spread(model, x)
    maps = attention_maps(model, x)
    for stage in range(1, 5):
        attention = f"network.layer{stage}.1.inserted_after.0.layer.spatial"
        shown[f"spatial attention, layer{stage}.1"] = maps[attention][0, 0]
    save_picture(args.out, shown)


if __name__ == "__main__":
    main()
