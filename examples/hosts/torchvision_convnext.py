"""Squeeze and excitation in torchvision's ConvNeXt, trained on synthetic retinal vessels.

python examples/hosts/torchvision_convnext.py
"""

import torch
from torch import nn
from torchvision.models import convnext_tiny
from torchvision.models.convnext import CNBlock
from vessels import Segmenter, arguments, panels, save_picture, train

from torchattn_blocks import IdentityStart, SqueezeExcite, changes, insert_after, out_channels


# The network, and the network with attention.
def network() -> nn.Module:
    return convnext_tiny(weights=None)  # weights="DEFAULT" loads ImageNet weights


def changed(network: nn.Module) -> nn.Module:
    return insert_after(
        network, CNBlock, lambda block: IdentityStart(SqueezeExcite(out_channels(block)))
    )


# The end of what the documentation shows.


def levels(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    maps = []
    for stage in network.features:
        x = stage(x)
        maps.append(x)
    return maps[1::2]  # the others come right after the downsampling


def main() -> None:
    args = arguments("torchvision_convnext", steps=60)
    torch.manual_seed(0)
    model = Segmenter(changed(network()), levels, {4: 96, 8: 192, 16: 384, 32: 768})
    train(model, args.steps, args.side)
    _, shown = panels(model, args.side)
    layers = [model.get_submodule(change.name) for change in changes(model)]
    shown["α of the 18 blocks"] = torch.stack([x.alpha.detach()[0] for x in layers])
    save_picture(args.out, shown)


if __name__ == "__main__":
    main()
