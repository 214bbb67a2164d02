"""Networks of the library by name, as commands and weights files speak of them."""

from dataclasses import dataclass
from typing import get_args

from .. import UNet, backbone, backbone_dropblock, rsan, unet
from .names import ModelName


@dataclass(frozen=True)
class Network:
    """Which network: plain data, from which the network is built.

    Attributes:
        model: The function of `torchattn_blocks` that makes it.
        widths: Channels of its stages, down to the bottleneck.
        up_kernel_size: Kernel of the transposed convolutions.
        p: The rate of DropBlock, ``1 - keep_prob``, where the model has one.
        block_size: Side of DropBlock's blocks, where the model has one.

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
        """Make the network, from RGB images to the logit of vessel, with fresh weights.

        Raises:
            ValueError: If the model is unknown or an attribute is out of bounds.
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
