"""Spatial attention in the decoder of segmentation_models.pytorch's U-Net.

python examples/hosts/smp_unet.py
"""

import segmentation_models_pytorch as smp
import torch
from torch import nn
from vessels import arguments, panels, save_picture, train

from torchattn_blocks import IdentityStart, SpatialAttention, attention_maps, insert_after


# The network, and the network with attention.
def network() -> nn.Module:
    # encoder_weights="imagenet" loads trained weights for the encoder.
    return smp.Unet("resnet18", encoder_weights=None)


def changed(network: nn.Module) -> nn.Module:
    return insert_after(
        network, "decoder.blocks.*", lambda block: IdentityStart(SpatialAttention())
    )


# The end of what the documentation shows.


def main() -> None:
    args = arguments("smp_unet", steps=80)
    torch.manual_seed(0)
    model = changed(network())
    train(model, args.steps, args.side)
    x, shown = panels(model, args.side)
    for name, attention in attention_maps(model, x).items():
        block = model.get_submodule(name.removesuffix(".layer"))
        number = name.split(".")[2]
        shown[f"decoder block {number}, α = {block.alpha.item():.2f}"] = attention[0, 0]
    save_picture(args.out, shown)


if __name__ == "__main__":
    main()
