"""Networks by name: how commands and weights files refer to them."""

from dataclasses import dataclass
from typing import get_args

from .. import UNet, backbone, backbone_dropblock, rsan, unet
from .names import ModelName


@dataclass(frozen=True)
class Network:
    """The name and the options of a network, as plain data.

    Attributes:
        model: Name of the preset: `rsan`, `backbone_dropblock`, `backbone` or `unet`.
        widths: Channels of the stages, from the first to the bottleneck.
        up_kernel_size: Kernel size of the transposed convolutions.
        p: DropBlock's drop probability, ``1 - keep_prob``. Ignored by networks without DropBlock.
        block_size: DropBlock's block size. Ignored by networks without DropBlock.

    Example:
        >>> from torchattn_blocks.retina import Network
        >>> sum(w.numel() for w in Network("backbone").build().parameters())
        996583
    """

    model: ModelName = "rsan"
    widths: tuple[int, ...] = (16, 32, 64, 128)
    up_kernel_size: int = 2
    p: float = 0.15
    block_size: int = 7

    def build(self) -> UNet:
        """Build the network with new random weights: 3 input channels, 1 logit per pixel.

        Raises:
            TypeError: If a width, `up_kernel_size` or `block_size` is not an int.
            ValueError: If `model` is unknown, `widths` has fewer than two entries or one below 1,
                `p` lies outside [0, 1], `block_size` is below 1 or `up_kernel_size` below 2.
        """
        match self.model:
            case "rsan" | "backbone_dropblock":
                make = rsan if self.model == "rsan" else backbone_dropblock
                return make(
                    widths=self.widths,
                    p=self.p,
                    block_size=self.block_size,
                    up_kernel_size=self.up_kernel_size,
                )
            case "backbone" | "unet":
                plain = backbone if self.model == "backbone" else unet
                return plain(widths=self.widths, up_kernel_size=self.up_kernel_size)
        raise ValueError(
            f"Network: model must be one of {', '.join(get_args(ModelName))}, got {self.model!r}"
        )
