"""DropBlock in MONAI's BasicUNet and UNet, trained on synthetic retinal vessels.

python examples/hosts/monai_unet.py
"""

import torch
from monai.networks.blocks import ResidualUnit
from monai.networks.nets import BasicUNet, UNet
from torch import nn
from vessels import arguments, panels, save_picture, spread, train

from torchattn_blocks import DropBlock2d, DropBlock3d, DropSchedule, insert_after, replace


# The networks, and the networks with DropBlock.
def network() -> nn.Module:
    # Load trained weights here, or later.
    return BasicUNet(
        spatial_dims=2, in_channels=3, out_channels=1, features=(16, 16, 32, 64, 64, 16)
    )


def changed(network: nn.Module) -> nn.Module:
    # MONAI has dropout layers even if their rate is 0.
    return replace(network, nn.Dropout, lambda dropout: DropBlock2d(0.1, block_size=7))


def volume_network() -> nn.Module:
    return UNet(
        3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2
    )


def volume_changed(network: nn.Module) -> nn.Module:
    return insert_after(network, ResidualUnit, lambda unit: DropBlock3d(0.1, block_size=3))


# The end of what the documentation shows.


def main() -> None:
    args = arguments("monai_unet", steps=120)
    torch.manual_seed(0)
    model = changed(network())
    schedule = DropSchedule(model, start=0.0, stop=None, steps=max(1, args.steps // 2))
    train(model, args.steps, args.side, schedule)
    x, shown = panels(model, args.side)
    shown["spread of 20 passes"] = spread(model, x)
    save_picture(args.out, shown)


if __name__ == "__main__":
    main()
