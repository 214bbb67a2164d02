"""The U: an encoder, a bottleneck and a decoder with skips, around any stage block.

Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation",
MICCAI 2015.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._init import glorot_uniform_, start_with
from ..layers._check import check_at_least, check_map, plain_int


class UNet(nn.Module):
    """A U-shaped network for segmentation, built around a stage block of the caller's.

    Each encoder stage is followed by a 2 x 2 max-pooling; each decoder stage follows a transposed
    convolution with stride 2 and takes its output with the encoder's of the same size concatenated
    behind it. A 1 x 1 convolution ends the network. Outputs are logits: see `predict_proba`.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: 1 for two classes, else one for each class.
        widths: Channels of each stage from the first down to the bottleneck, two or more.
        block: Makes a stage, called with its numbers of input and output channels; it must keep
            height and width. Its initial weights stay as it makes them; the other
            convolutions start as in Keras, Glorot uniform with zero bias.
        up_kernel_size: Kernel of the transposed convolutions, 2 or more.

    Shape:
        (N, in_channels, H, W) in, (N, out_channels, H, W) out, for any H and W: an image whose
        sides are no multiple of ``2 ** (len(widths) - 1)`` is padded with zeros at the bottom and
        the right to the next, and the logits are cropped back.

    Raises:
        TypeError: If an argument has the wrong type, or an input is not a floating tensor.
        ValueError: If an argument is out of bounds, or an input has another shape.

    Example:
        >>> def stage(in_channels, out_channels):
        ...     return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU())
        >>> model = UNet(3, 1, widths=(8, 16), block=stage)
        >>> model(torch.randn(1, 3, 33, 20)).shape
        torch.Size([1, 1, 33, 20])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        block: Callable[[int, int], nn.Module],
        up_kernel_size: int = 2,
    ) -> None:
        super().__init__()
        check_at_least("UNet", 1, in_channels=in_channels, out_channels=out_channels)
        check_at_least("UNet", 2, up_kernel_size=up_kernel_size)
        if len(widths) < 2:
            raise ValueError(f"UNet: widths must name two stages or more, got {tuple(widths)}")
        for width in widths:
            check_at_least("UNet", 1, widths=width)
        in_channels, out_channels, up_kernel_size, *widths = map(
            plain_int, (in_channels, out_channels, up_kernel_size, *widths)
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        *encoder_widths, _ = widths
        steps = list(pairwise((in_channels, *widths)))
        self.encoders = nn.ModuleList(block(*step) for step in steps[:-1])
        self.bottleneck = block(*steps[-1])
        self.ups = nn.ModuleList(
            _double(deeper, width, up_kernel_size) for width, deeper in reversed(steps[1:])
        )
        self.decoders = nn.ModuleList(block(2 * width, width) for width in encoder_widths[::-1])
        self.head = start_with(glorot_uniform_, nn.Conv2d(encoder_widths[0], out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, out_channels, H, W) for images of shape (N, in_channels, H, W)."""
        check_map(x, "UNet", self.in_channels)
        step = 2 ** len(self.encoders)
        # (size + step - 1) // step * step is the next multiple. The remainder of -size would be
        # shorter; torch.compile fails on it where sizes are dynamic.
        height, width = x.shape[-2], x.shape[-1]  # by index: an FX proxy cannot be unpacked
        bottom = (height + step - 1) // step * step - height
        right = (width + step - 1) // step * step - width
        # Padded and cropped whatever the size, and not sliced, so that an exported graph holds
        # for all sizes: a slice would be guarded to change the size.
        x = F.pad(x, (0, right, 0, bottom))
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat([up(x), skips.pop()], 1))
        return F.pad(self.head(x), (0, -right, 0, -bottom))

    def predict_proba(self, x: Tensor) -> Tensor:
        """Probabilities in place of logits: of the foreground, or of each class where several.

        The sigmoid for one output channel, the softmax over channels for more. The caller chooses
        ``eval()`` and ``torch.no_grad()``.
        """
        logits = self(x)
        return logits.sigmoid() if self.out_channels == 1 else logits.softmax(1)


def _double(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    """A transposed convolution that exactly doubles height and width."""
    conv = nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=2,
        padding=(kernel_size - 1) // 2,
        output_padding=kernel_size % 2,
    )
    return start_with(glorot_uniform_, conv)
