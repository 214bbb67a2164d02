"""`UNet`: encoder, bottleneck and decoder with skip connections, around any stage.

Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation",
MICCAI 2015.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._check import check_at_least, check_map, options_by_name, plain_int
from .parts import head, transposed


class UNet(nn.Module):
    """A U-Net for segmentation, built from stages of your choice.

    A stage is the group of layers that works at one resolution: two convolutions, for example.

    Each encoder stage is followed by a 2 x 2 max-pooling. Each decoder stage follows an upsampling
    and takes its output, concatenated with the output of the encoder stage of the same size. A
    1 x 1 convolution ends the network. Outputs are logits: see `predict_proba`.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: 1 for two classes, else one for each class.
        widths: Channels of each stage from the first down to the bottleneck, two or more.
        stage: Function from the numbers of input and output channels to a stage, from `rsan_stage`
            for example. A stage must keep height and width. Its initial weights are not changed.
        up: Function from the numbers of input and output channels to an upsampling module, which
            must double height and width. By default `torchattn_blocks.models.transposed`.

    Shape:
        (N, in_channels, H, W) in, (N, out_channels, H, W) out, for any H and W. If H or W is not a
        multiple of ``2 ** (len(widths) - 1)``, the image is padded with zeros at the bottom and the
        right to the next multiple, and the logits are cropped.

    Raises:
        TypeError: If a number of channels is not an int or the input not a floating-point tensor.
        ValueError: If `widths` has fewer than two entries, a number of channels is below 1, or the
            input is not of shape (N, in_channels, H, W).

    Example:
        >>> import torch
        >>> from torchattn_blocks import UNet, rsan_stage
        >>> model = UNet(3, 1, widths=(8, 16), stage=rsan_stage(p=0.1))
        >>> model(torch.randn(1, 3, 33, 20)).shape
        torch.Size([1, 1, 33, 20])
    """

    @options_by_name
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        stage: Callable[[int, int], nn.Module],
        up: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        check_at_least("UNet", 1, in_channels=in_channels, out_channels=out_channels)
        if len(widths) < 2:
            raise ValueError(f"UNet: widths must name two stages or more, got {tuple(widths)}")
        for width in widths:
            check_at_least("UNet", 1, widths=width)
        in_channels, out_channels, *widths = map(plain_int, (in_channels, out_channels, *widths))
        up = transposed() if up is None else up
        self.in_channels, self.out_channels = in_channels, out_channels
        *encoder_widths, _ = widths
        steps = list(pairwise((in_channels, *widths)))
        self.encoders = nn.ModuleList(stage(*step) for step in steps[:-1])
        self.bottleneck = stage(*steps[-1])
        self.ups = nn.ModuleList(up(deeper, width) for width, deeper in reversed(steps[1:]))
        self.decoders = nn.ModuleList(stage(2 * width, width) for width in encoder_widths[::-1])
        self.head = head(encoder_widths[0], out_channels)

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
        """The probability of the foreground, or of each class if there are several.

        It is the sigmoid of the logits for one output channel, the softmax over channels for more.
        Call ``eval()`` before, and use ``torch.no_grad()``, for inference.
        """
        logits = self(x)
        return logits.sigmoid() if self.out_channels == 1 else logits.softmax(1)
