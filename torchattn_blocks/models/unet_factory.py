"""`UNet`: encoder, bottleneck and decoder with skip connections, around any stage.

Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation",
MICCAI 2015.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .._check import check_ints, check_map, check_spatial_dims, options_by_name, plain
from .._dims import Size, per_axis, several
from ._conv import head
from ._memory import MemoryEfficient, check_memory_efficient, keeps, run_stage
from ._size import cut, padding, strides_by_level
from ._slots import Slots
from .downsampling import max_pool
from .skips import concatenate
from .upsampling import transposed


class UNet(nn.Module):
    """A U-Net for segmentation, built from stages of your choice.

    A stage is the group of layers that works at one resolution: two convolutions, for example.

    Each encoder stage is followed by `down`. Each decoder stage follows `up` and takes its output,
    merged by `skip` with the output of the encoder stage of the same size. A 1 x 1 convolution ends
    the network. Outputs are logits: see `predict_proba`.

    What you give for `stage`, `bottleneck`, `decoder_stage`, `down`, `up` and `skip` is a function
    that makes a module. It is called with numbers of channels. If it has parameters of these
    names, it is also given ``spatial_dims``, ``level`` (0 for the size of the image, 1 for the next
    smaller one, ...) and, for `down` and `up`, ``stride`` (a tuple, one number for each axis).
    Initial weights are not changed. When the network is built, each module is tried once, in
    evaluation mode, on a small feature map of zeros.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: 1 for two classes, else one for each class.
        widths: Channels of each stage from the first down to the bottleneck, two or more.
        stage: Function from the numbers of input and output channels to a stage, from `rsan_stage`
            for example. A stage must keep height and width.
        bottleneck: As `stage`, for the smallest size; by default `stage`.
        decoder_stage: As `stage`, for the decoder; by default `stage`.
        down: Function from a number of channels to a module that divides the size by the stride; by
            default `torchattn_blocks.models.max_pool`. The channels that it returns are the next
            stage's input.
        up: Function from the numbers of channels of its input and of the stage that follows to a
            module that multiplies the size by the stride; by default
            `torchattn_blocks.models.transposed`. It may return any number of channels, and one row
            or column too many, which are cut off at the bottom and right.
        skip: Function from the numbers of channels of the upsampled feature maps and of the skip
            connection to a module that is called with both and returns what the decoder stage
            takes; by default `torchattn_blocks.models.concatenate`. The class `AttentionGate`
            stands for ``concatenate(AttentionGate)``.
        strides: What the size is divided by from each level to the next: one number for all, or for
            each level a number or one for each axis.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        image_size: Size of the images, one number or one for each axis. Needed only if a stage
            works at one size, or at multiples of a number: the modules are then tried on the sizes
            that they will meet, which costs as much as a pass over one image.
        memory_efficient: What training keeps in memory for the backward pass. False: what torch
            keeps. True: the outputs of normalisations, activations, concatenations, attention and
            sums are computed again, and about half is kept. ``"activations"``: those of
            normalisations and activations alone, which takes less time. ``"stages"``: each stage
            runs a second time, in the backward pass, which keeps least and takes most time.
            Gradients are the same. It can be changed as ``model.memory_efficient = True``.

    Shape:
        (N, in_channels, H, W) in, (N, out_channels, H, W) out, for any H and W, or as many sizes as
        `spatial_dims` says. An image is padded with zeros at the bottom and right, and the logits
        are cropped, such that the bottleneck gets whole positions, and two or more along each axis:
        sides become multiples of the product of the strides along their axis, of 8 in `rsan`, and
        at least twice the product (where the product is not 1).

    Raises:
        TypeError: If a number is not an int, a slot is not filled by a function that takes numbers
            of channels and returns a module, or the input is not a floating-point tensor.
        ValueError: If `widths` has fewer than two entries, a number is below 1, `spatial_dims`
            above 3, `strides` does not have an entry for each level, what a function returns does
            not run or does not make the shape that its slot needs, the input is not of shape
            (N, in_channels, H, W), or weights are loaded of a network with other `spatial_dims`.

    Example:
        >>> import torch
        >>> from torchattn_blocks import UNet, plain_stage, rsan_stage
        >>> model = UNet(3, 1, widths=(8, 16), stage=rsan_stage(p=0.1))
        >>> model(torch.randn(1, 3, 33, 20)).shape
        torch.Size([1, 1, 33, 20])

        Volumes whose slices are farther apart than their pixels:

        >>> model = UNet(1, 2, widths=(4, 8, 8), strides=[(1, 2, 2), 2], spatial_dims=3,
        ...              stage=plain_stage())
        >>> model(torch.randn(1, 1, 9, 33, 20)).shape
        torch.Size([1, 2, 9, 33, 20])
    """

    _memory_efficient: MemoryEfficient = False  # of networks pickled before there was a choice

    @options_by_name
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        stage: Callable[..., nn.Module],
        bottleneck: Callable[..., nn.Module] | None = None,
        decoder_stage: Callable[..., nn.Module] | None = None,
        down: Callable[..., nn.Module] | None = None,
        up: Callable[..., nn.Module] | None = None,
        skip: Callable[..., nn.Module] | None = None,
        strides: int | Sequence[Size] = 2,
        spatial_dims: int = 2,
        image_size: Size | None = None,
        memory_efficient: MemoryEfficient = False,
    ) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        check_ints("UNet", 1, in_channels=in_channels, out_channels=out_channels)
        check_spatial_dims("UNet", spatial_dims)
        if not several(widths):
            raise TypeError(f"UNet: widths must be a sequence of ints, got {widths!r}")
        if len(widths) < 2:
            raise ValueError(f"UNet: widths must name two stages or more, got {tuple(widths)}")
        for width in widths:
            check_ints("UNet", 1, widths=width)
        in_channels, out_channels, *widths = map(plain, (in_channels, out_channels, *widths))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.spatial_dims = plain(spatial_dims)
        self.strides = strides_by_level("UNet", strides, len(widths) - 1, self.spatial_dims)
        if image_size is not None:
            image_size = per_axis("UNet", "image_size", image_size, self.spatial_dims)
            added = padding(image_size, self.strides)
            image_size = tuple(n + more for n, more in zip(image_size, added, strict=True))
        slots = Slots(self.strides, image_size)
        down = max_pool() if down is None else down
        up = transposed() if up is None else up
        skip = concatenate() if skip is None else skip

        levels = range(len(widths) - 1)
        channels = in_channels
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        for level in levels:
            encoder = slots.stage("stage", stage, channels, widths[level], level)
            module, channels = slots.down(down, widths[level], level)
            self.encoders.append(encoder)
            self.downs.append(module)
        name = "stage, as the bottleneck," if bottleneck is None else "bottleneck"
        bottleneck = stage if bottleneck is None else bottleneck
        self.bottleneck = slots.stage(name, bottleneck, channels, widths[-1], len(levels))

        # All of a kind one after the other: initial weights are drawn in this order.
        self.ups, self.skips, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        upsampled = []
        for level in reversed(levels):
            module, channels = slots.up(up, widths[level + 1], widths[level], level)
            self.ups.append(module)
            upsampled.append(channels)
        merged = []
        for level, channels in zip(reversed(levels), upsampled, strict=True):
            module, channels = slots.skip(skip, channels, widths[level], level)
            self.skips.append(module)
            merged.append(channels)
        name = "stage, in the decoder," if decoder_stage is None else "decoder_stage"
        decoder_stage = stage if decoder_stage is None else decoder_stage
        for level, channels in zip(reversed(levels), merged, strict=True):
            self.decoders.append(slots.stage(name, decoder_stage, channels, widths[level], level))
        self.head = head(widths[0], out_channels, self.spatial_dims)
        self.register_load_state_dict_pre_hook(_check_dims)  # type: ignore[no-untyped-call]

    @property
    def memory_efficient(self) -> MemoryEfficient:
        """What training keeps in memory for the backward pass."""
        return self._memory_efficient

    @memory_efficient.setter
    def memory_efficient(self, memory_efficient: MemoryEfficient) -> None:
        check_memory_efficient("UNet", memory_efficient)
        self._memory_efficient = memory_efficient

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, out_channels, H, W) for images of shape (N, in_channels, H, W)."""
        check_map("UNet", x, self.in_channels, self.spatial_dims)
        with keeps(self._memory_efficient, x):
            return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        # By index, not unpacked: an FX proxy can only be indexed.
        size = [x.shape[2 + axis] for axis in range(self.spatial_dims)]
        # Padded and cropped whatever the size, and not sliced, so that an exported graph holds
        # for all sizes: a slice would be guarded to change the size.
        after = padding(size, self.strides)
        x = F.pad(x, _last_axis_first(after))
        encoded = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = run_stage(encoder, x, self._memory_efficient)
            encoded.append(x)
            x = down(x)
        x = run_stage(self.bottleneck, x, self._memory_efficient)
        for up, skip, decoder in zip(self.ups, self.skips, self.decoders, strict=True):
            x = skip(cut(up(x), encoded[-1]), encoded.pop())
            x = run_stage(decoder, x, self._memory_efficient)
        return F.pad(self.head(x), _last_axis_first([-n for n in after]))

    def predict_proba(self, x: Tensor, *, multi_label: bool = False) -> Tensor:
        """The probability of the foreground, or of each class if there are several.

        It is the sigmoid of the logits for one output channel, the softmax over channels for more.
        Call ``eval()`` before, and use ``torch.no_grad()``, for inference.

        Args:
            x: Images, (N, in_channels, H, W).
            multi_label: Whether a pixel may belong to several classes: the sigmoid of each channel.
        """
        logits = self(x)
        independent = multi_label or self.out_channels == 1
        return logits.sigmoid() if independent else logits.softmax(1)


def _last_axis_first(after: Sequence[int]) -> list[int]:
    """What to add after each axis, as `torch.nn.functional.pad` takes it."""
    return [n for added in reversed(after) for n in (0, added)]


def _check_dims(
    model: nn.Module, state_dict: Mapping[str, Any], prefix: str, *others: object
) -> None:
    """Raise if the weights are those of a network with other dimensions."""
    weight = state_dict.get(f"{prefix}head.weight")
    if isinstance(model, UNet) and isinstance(weight, Tensor):
        given, needed = weight.dim() - 2, model.spatial_dims
        if given in (1, 2, 3) and given != needed:
            raise ValueError(
                f"UNet: the weights must be of a network with spatial_dims={needed}, "
                f"got {given}: head.weight has shape {tuple(weight.shape)}"
            )
