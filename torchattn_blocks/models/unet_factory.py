"""`UNet`: encoder, bottleneck and decoder with skip connections, around any stage.

Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation",
MICCAI 2015.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._check import check_ints, check_map, check_spatial_dims, options_by_name, plain
from .._dims import Size, per_axis, several
from ._config import Recipe, changes, read_config
from ._conv import head
from ._encoder import Pyramid, pyramid_of
from ._memory import MemoryEfficient, check_memory_efficient, keeps, run_stage
from ._size import cut, padding, strides_by_level
from ._slots import Slots
from .downsampling import max_pool
from .skips import concatenate
from .upsampling import transposed


class UNet(nn.Module):
    """A U-Net for segmentation, built from stages of your choice.

    A stage is a group of layers that works at one resolution: two convolutions, for example.

    After each encoder stage comes `down`. Before each decoder stage comes `up`, whose output `skip`
    merges with the output of the encoder stage of the same size. A 1 x 1 convolution ends the
    network. Outputs are logits: see `predict_proba`.

    For `stage`, `bottleneck`, `decoder_stage`, `down`, `up` and `skip`, pass a function that makes
    a module. It is called with numbers of channels. If it has parameters with these names, it also
    gets ``spatial_dims``, ``level`` (0 for the size of the image, 1 for the next smaller one, ...)
    and, for `down` and `up`, ``stride`` (a tuple, one number for each axis). `UNet` does not change
    initial weights. When it is built, it tries each module once, in evaluation mode, on a small
    feature map of zeros.

    With `encoder`, a module of yours, such as a pretrained one, replaces the stages from the image
    down. It must return feature maps of several sizes, from the largest to the smallest, like
    ``timm.create_model("resnet34", features_only=True, pretrained=True)``. The smallest go to the
    bottleneck, the others are skip connections. A level without feature maps has no skip
    connection.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: 1 for two classes, otherwise one for each class.
        widths: Channels of each stage from the first down to the bottleneck, two or more; by
            default (16, 32, 64, 128). With `encoder`: channels of each decoder stage, starting with
            the one at the size of the image; by default 16, 32, 64 and so on.
        encoder: A module that returns a list, tuple or dictionary of feature maps, each smaller
            than the one before. None: the encoder is built from stages.
        stage: Function from the numbers of input and output channels to a stage, from `rsan_stage`
            for example. A stage must keep height and width.
        bottleneck: Like `stage`, for the smallest size; by default `stage`. With `encoder`, it
            comes after the encoder and keeps the channels; by default there is no bottleneck.
        decoder_stage: Like `stage`, for the decoder; by default `stage`.
        down: Function from a number of channels to a module that divides the size by the stride; by
            default `torchattn_blocks.models.max_pool`. The next stage takes the channels that it
            returns. Not allowed with `encoder`.
        up: Function from the numbers of channels of its input and of the next stage to a module
            that multiplies the size by the stride; by default `torchattn_blocks.models.transposed`.
            It may return any number of channels, and one row or column too many, which is cut off
            at the bottom or right.
        skip: Function from the numbers of channels of the upsampled feature maps and of the skip
            connection to a module that takes both and returns the input of the decoder stage; by
            default `torchattn_blocks.models.concatenate`. The class `AttentionGate` stands for
            ``concatenate(AttentionGate)``.
        strides: Divisor of the size from each level to the next: one number for all levels, or for
            each level one number or one per axis. With `encoder` and one number, there are as many
            levels as the encoder's smallest feature maps need.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        image_size: Size of the images, one number or one for each axis. Needed if a stage works
            only at one size or at multiples of a number: the modules are then tried on their real
            sizes, which costs as much as a pass over one image.
        deep_supervision: Whether training also gives logits of smaller sizes, see below. A number
            says how many sizes have logits, starting with the image's. True: each decoder stage.
            Later, ``model.deep_supervision = False`` turns it off, and a number turns it on again.
        memory_efficient: What training keeps in memory for the backward pass. False: what torch
            keeps. True: the outputs of normalisations, activations, concatenations, attention and
            sums are computed again, which keeps about half. ``"activations"``: only the outputs of
            normalisations and activations are computed again, which takes less time. ``"stages"``:
            each stage runs a second time in the backward pass, which keeps least and takes most
            time. Gradients are the same. You can change it with ``model.memory_efficient = True``.

    Shape:
        (N, in_channels, H, W) in, (N, out_channels, H, W) out, for any H and W, or as many sizes as
        `spatial_dims` says. Images are padded with zeros at the bottom and right, and the logits
        are cropped, so that the bottleneck gets two or more whole positions along each axis. Each
        side becomes a multiple of the product of the strides along its axis (8 in `rsan`), and at
        least twice this product if it is not 1.

        With `deep_supervision`, in training mode, the output is a list of logits, the ones above
        first. The others come from decoder stages of smaller sizes, through their own 1 x 1
        convolutions. If the strides multiply to s, they have H / s rows, rounded up. In evaluation
        mode, and from a network exported in evaluation mode, only the first logits come out.

    Raises:
        TypeError: If a number is not an int, a slot is not filled by a function that takes numbers
            of channels and returns a module, `encoder` is not a module, or the input is not a
            floating-point tensor.
        ValueError: If `widths` has fewer than two entries or not one for each level, a number is
            below 1, `spatial_dims` above 3, `strides` does not have an entry for each level or does
            not lead to the sizes of the encoder's feature maps, the module from a function does not
            run or does not return the shape that its slot needs, `deep_supervision` is more than
            the number of decoder stages, the input is not of shape (N, in_channels, H, W), or you
            load the weights of a network with other `spatial_dims`.

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

    # For networks pickled before there was a choice.
    _memory_efficient: MemoryEfficient = False
    _pyramid: Pyramid | None = None
    _recipe: Recipe | None = None
    _deep_supervision = 0

    @options_by_name
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        widths: Sequence[int] | None = None,
        encoder: nn.Module | None = None,
        stage: Callable[..., nn.Module] | None = None,
        bottleneck: Callable[..., nn.Module] | None = None,
        decoder_stage: Callable[..., nn.Module] | None = None,
        down: Callable[..., nn.Module] | None = None,
        up: Callable[..., nn.Module] | None = None,
        skip: Callable[..., nn.Module] | None = None,
        strides: int | Sequence[Size] = 2,
        spatial_dims: int = 2,
        image_size: Size | None = None,
        deep_supervision: bool | int = False,
        memory_efficient: MemoryEfficient = False,
    ) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        check_ints("UNet", 1, in_channels=in_channels, out_channels=out_channels)
        check_spatial_dims("UNet", spatial_dims)
        self.in_channels, self.out_channels = plain(in_channels), plain(out_channels)
        self.spatial_dims = plain(spatial_dims)
        if image_size is not None:
            image_size = per_axis("UNet", "image_size", image_size, self.spatial_dims)
        if encoder is None:
            given = (16, 32, 64, 128) if widths is None else widths
            _check_widths(given, least=2)
            levels = len(given) - 1
            self.strides = strides_by_level("UNet", strides, levels, self.spatial_dims)
        else:
            if down is not None:
                raise ValueError(f"UNet: down must be None where there is an encoder, got {down!r}")
            self._pyramid = pyramid_of(
                encoder, self.in_channels, strides, self.spatial_dims, image_size
            )
            self.strides = self._pyramid.strides
            levels = len(self.strides)
            given = [16 * 2**level for level in range(levels)] if widths is None else widths
            _check_widths(given, least=0)
            if len(given) != levels:
                needed = f"one number for each of the {levels} decoder stages"
                raise ValueError(f"UNet: widths must be {needed}, got {tuple(given)}")
        widths = tuple(map(plain, given))
        if image_size is not None:
            added = padding(image_size, self.strides)
            image_size = tuple(n + more for n, more in zip(image_size, added, strict=True))
        self._deep_supervision = _supervised(deep_supervision, levels)
        self.encoder: Any = encoder

        # All modules of a kind one after the other: this order determines the initial weights.
        slots = Slots(self.strides, image_size)
        down = max_pool() if down is None else down
        up = transposed() if up is None else up
        skip = concatenate() if skip is None else skip
        name = "stage, in the decoder," if decoder_stage is None else "decoder_stage"
        decoder_stage = stage if decoder_stage is None else decoder_stage
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        skipped: Sequence[int] = widths[:-1]
        if self._pyramid is None:
            lowest = self._build_encoder(slots, widths, stage, down, bottleneck)
        else:
            *skipped, lowest = self._pyramid.channels
            self.bottleneck = (
                nn.Identity()
                if bottleneck is None
                else slots.stage("bottleneck", bottleneck, lowest, lowest, levels)
            )
        channels = [*widths[:levels], lowest]
        self._build_decoder(slots, channels, skipped, up, skip, decoder_stage, name)
        self.head = head(widths[0], self.out_channels, self.spatial_dims)
        self.deep_heads = nn.ModuleList(
            head(width, self.out_channels, self.spatial_dims)
            for width in widths[1 : self._deep_supervision]
        )
        self.register_load_state_dict_pre_hook(_check_dims)  # type: ignore[no-untyped-call]

    def _build_encoder(
        self,
        slots: Slots,
        widths: Sequence[int],
        stage: Callable[..., nn.Module] | None,
        down: Callable[..., nn.Module],
        bottleneck: Callable[..., nn.Module] | None,
    ) -> int:
        """The stages from the image down to the bottleneck, and the channels that it returns."""
        channels, levels = self.in_channels, len(self.strides)
        for level in range(levels):
            self.encoders.append(slots.stage("stage", stage, channels, widths[level], level))
            module, channels = slots.down(down, widths[level], level)
            self.downs.append(module)
        name = "stage, as the bottleneck," if bottleneck is None else "bottleneck"
        bottleneck = stage if bottleneck is None else bottleneck
        self.bottleneck = slots.stage(name, bottleneck, channels, widths[-1], levels)
        return widths[-1]

    def _build_decoder(
        self,
        slots: Slots,
        widths: Sequence[int],
        skipped: Sequence[int],
        up: Callable[..., nn.Module],
        skip: Callable[..., nn.Module],
        stage: Callable[..., nn.Module] | None,
        name: str,
    ) -> None:
        """The modules from the bottleneck, the last of `widths`, back to the size of the image."""
        self.ups, self.skips, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        levels = range(len(skipped))
        channels = [0 for _ in levels]
        for level in reversed(levels):
            module, channels[level] = slots.up(up, widths[level + 1], widths[level], level)
            self.ups.append(module)
        for level in reversed(levels):
            if skipped[level]:
                module, channels[level] = slots.skip(skip, channels[level], skipped[level], level)
            else:
                module = nn.Identity()
            self.skips.append(module)
        for level in reversed(levels):
            self.decoders.append(slots.stage(name, stage, channels[level], widths[level], level))

    def config(self) -> dict[str, Any]:
        """The preset that made the network and its arguments, as data that JSON can hold.

        `from_config` builds the network again, with new weights. `memory_efficient` has its current
        value. Rates that `DropSchedule` has set are not recorded.

        Raises:
            ValueError: If no preset made the network, an argument is a function other than the
                class of an attention layer of this library, or modules were inserted, replaced or
                given other options since. Save the state dict of such a network, and build it with
                your own code.

        Example:
            >>> from torchattn_blocks import CBAM, UNet, rsan
            >>> config = rsan(p=0.2, attention=CBAM).config()
            >>> config["preset"], config["p"], config["attention"]
            ('rsan', 0.2, 'CBAM')
            >>> model = UNet.from_config(config)
        """
        if self._recipe is None:
            raise ValueError(
                "config: the network must come from a preset, such as rsan; of another one, save "
                "the state dict and build it by your own code"
            )
        if self._recipe.unsaid:
            name, value = next(iter(self._recipe.unsaid.items()))
            raise ValueError(
                f"config: {name} must be plain data or the class of an attention layer of "
                f"torchattn_blocks to be recorded, got {value}"
            )
        config = {**self._recipe.config, "memory_efficient": self._memory_efficient}
        with torch.device("meta"):
            built = UNet.from_config(config)
        if names := changes(self, built):
            preset = config["preset"]
            raise ValueError(
                f"config: the network must have the modules that {preset} makes, but "
                f"{len(names)} differ, such as {names[0]!r}"
            )
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "UNet":
        """Build a network from the result of `config`, with new weights.

        Args:
            config: The name of a preset, as ``"preset"``, and its arguments, at least the ones that
                differ from the defaults.

        Raises:
            TypeError: If `config` is not a mapping.
            ValueError: If the preset is unknown, or does not take an argument.

        Example:
            >>> from torchattn_blocks import UNet
            >>> model = UNet.from_config({"preset": "unet", "widths": [8, 16]})
        """
        arguments, recipe = read_config(config)
        model = cls(**arguments)
        model._recipe = recipe
        return model

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also accept pickles from before deep supervision existed."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if not hasattr(self, "deep_heads"):
            self.deep_heads = nn.ModuleList()

    @property
    def deep_supervision(self) -> int:
        """How many sizes have logits in training. 0: deep supervision is off."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, deep_supervision: bool | int) -> None:
        number = _supervised(deep_supervision, len(self.strides))
        built = 1 + len(self.deep_heads)
        if number > built:
            raise ValueError(
                f"UNet: deep_supervision must be at most {built}, since the network was built with "
                f"{built - 1} deep_heads, got {deep_supervision}"
            )
        self._deep_supervision = number

    @property
    def memory_efficient(self) -> MemoryEfficient:
        """What training keeps in memory for the backward pass."""
        return self._memory_efficient

    @memory_efficient.setter
    def memory_efficient(self, memory_efficient: MemoryEfficient) -> None:
        check_memory_efficient("UNet", memory_efficient)
        self._memory_efficient = memory_efficient

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of shape (N, out_channels, H, W) for images of shape (N, in_channels, H, W).

        In training with `deep_supervision`: a list of logits, starting with the size of the image.
        """
        check_map("UNet", x, self.in_channels, self.spatial_dims)
        with keeps(self._memory_efficient, x):
            return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor | list[Tensor]:
        # By index, not unpacked: an FX proxy can only be indexed.
        size = [x.shape[2 + axis] for axis in range(self.spatial_dims)]
        # Always pad and crop, and never slice, so that an exported graph works for all sizes: a
        # slice would add a guard that it changes the size.
        after = padding(size, self.strides)
        encoded, x = self._encoded(F.pad(x, _last_axis_first(after)))
        x = run_stage(self.bottleneck, x, self._memory_efficient)
        deep = []
        for up, skip, decoder in zip(self.ups, self.skips, self.decoders, strict=True):
            skipped = encoded.pop()
            level = len(encoded)
            if skipped is None:
                steps = enumerate(self.strides[level])
                x = skip(cut(up(x), [x.shape[2 + axis] * step for axis, step in steps]))
            else:
                x = skip(cut(up(x), skipped.shape[2:]), skipped)
            x = run_stage(decoder, x, self._memory_efficient)
            if self.training and 0 < level < self._deep_supervision:
                logits = self.deep_heads[level - 1](x)
                deep.append(F.pad(logits, _last_axis_first(self._beyond(size, after, level))))
        logits = F.pad(self.head(x), _last_axis_first([-n for n in after]))
        return [logits, *reversed(deep)] if self.training and self._deep_supervision else logits

    def _encoded(self, x: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The feature maps of each level, None where there are none, and the bottleneck's input."""
        if self._pyramid is not None:
            returned = run_stage(self.encoder, x, self._memory_efficient)
            return self._pyramid.by_level(returned, x)
        encoded: list[Tensor | None] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = run_stage(encoder, x, self._memory_efficient)
            encoded.append(x)
            x = down(x)
        return encoded, x

    def _beyond(self, size: Sequence[int], after: Sequence[int], level: int) -> list[int]:
        """Minus the number of a level's positions that cover no pixel of the image."""
        steps = [prod(along) for along in zip(*self.strides[:level], strict=True)]
        return [
            (n + step - 1) // step - (n + more) // step
            for n, more, step in zip(size, after, steps, strict=True)
        ]

    def predict_proba(self, x: Tensor, *, multi_label: bool = False) -> Tensor:
        """The probability of the foreground, or of each class if there are several.

        It is the sigmoid of the logits for one output channel, the softmax over channels for more.
        For inference, call ``eval()`` before, and use ``torch.no_grad()``.

        Args:
            x: Images, (N, in_channels, H, W).
            multi_label: Whether a pixel may belong to several classes: then the sigmoid of each
                channel.
        """
        logits = self(x)
        if isinstance(logits, list):
            logits = logits[0]
        independent = multi_label or self.out_channels == 1
        return logits.sigmoid() if independent else logits.softmax(1)


def _check_widths(widths: Any, *, least: int) -> None:
    if not several(widths):
        raise TypeError(f"UNet: widths must be a sequence of ints, got {widths!r}")
    if len(widths) < least:
        raise ValueError(f"UNet: widths must name two stages or more, got {tuple(widths)}")
    for width in widths:
        check_ints("UNet", 1, widths=width)


def _supervised(deep_supervision: Any, levels: int) -> int:
    """How many sizes have logits in training. 0: deep supervision is off."""
    deep_supervision = plain(deep_supervision)
    if isinstance(deep_supervision, bool):
        return levels if deep_supervision else 0
    check_ints("UNet", 0, levels, deep_supervision=deep_supervision)
    return int(deep_supervision)


def _last_axis_first(after: Sequence[int]) -> list[int]:
    """The padding after each axis in the order of `torch.nn.functional.pad`."""
    return [n for added in reversed(after) for n in (0, added)]


def _check_dims(
    model: nn.Module, state_dict: Mapping[str, Any], prefix: str, *others: object
) -> None:
    """Raise if the weights come from a network with other dimensions."""
    weight = state_dict.get(f"{prefix}head.weight")
    if isinstance(model, UNet) and isinstance(weight, Tensor):
        given, needed = weight.dim() - 2, model.spatial_dims
        if given in (1, 2, 3) and given != needed:
            raise ValueError(
                f"UNet: the weights must be of a network with spatial_dims={needed}, "
                f"got {given}: head.weight has shape {tuple(weight.shape)}"
            )
