"""Pre-activation residual blocks, with DropBlock and with spatial attention.

Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020, fig. 3c, 4;
after He, Zhang, Ren & Sun, "Identity mappings in deep residual networks", ECCV 2016.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .._check import check_ints, check_kind, check_map, check_spatial_dims, options_by_name, plain
from .._dims import BATCH_NORM, CONVOLUTION
from .._factory import made_by
from ._recipes import ALL
from ._recompute import recomputation
from .attention.spatial import SpatialAttention
from .drop_block import paper_drop_block


def batch_norm(
    channels: int, *, spatial_dims: int = 2, eps: float = 1e-5, momentum: float = 0.1
) -> nn.Module:
    """Torch's batch normalisation for this number of spatial dimensions."""
    return BATCH_NORM[spatial_dims](channels, eps=eps, momentum=momentum)


def write_in_place(*layers: nn.Module) -> None:
    """Set ``inplace`` on the layers that have it."""
    for layer in layers:
        if hasattr(layer, "inplace"):
            setattr(layer, "inplace", True)  # noqa: B010 (mypy knows no such attribute)


class PreActResidual(nn.Module):
    """A residual block that normalises and activates before each convolution.

    From Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020,
    figure 3c.

    .. code-block:: text

        x ─┬─ norm ─ ReLU ─ conv 3x3 ─ drop ─ norm ─ ReLU ─ conv 3x3 ─ drop ─ drop path ─ + ─ out
           └─────────────── identity, or conv 1x1 where the channels change ──────────────┘

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; by default as many as the input has.
        drop: Function without arguments that returns the dropout layer after each convolution. By
            default it is the paper's DropBlock (p = 0.15, blocks of 7 x 7). None: no dropout.
        drop_path: Function without arguments that returns a layer that drops the residual branch of
            whole samples, such as ``lambda: StochasticDepth(0.1)``. None, as in the paper: no such
            layer.
        norm: Function from a number of channels to a normalisation layer; by default batch
            normalisation. None: no normalisation.
        activation: Function without arguments that returns an activation.
        inplace: Whether activations and `drop` write into their input, which saves time in
            training. A `norm` of your own must then return a new tensor, and full backward hooks
            raise an error.
        memory_efficient: Whether the backward pass computes outputs of normalisations and
            activations again, which needs less memory in training and gives the same gradients. In
            a `UNet` with `memory_efficient` it has no further effect.
        spatial_dims: Dimensions after the channels: 1, 2 or 3. It is passed to `drop`, `norm` and
            `attention` of `RSAB` if they have a parameter ``spatial_dims``.

    Shape:
        (N, in_channels, H, W) in, (N, out_channels, H, W) out, or as many sizes as `spatial_dims`
        says.

    Raises:
        TypeError: If a number is not an int, `drop`, `drop_path`, `norm` or `activation` not a
            function as above, or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, or the input is not of shape (N,
            in_channels, H, W).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from torchattn_blocks import PreActResidual
        >>> PreActResidual(16, 32)(torch.randn(1, 16, 20, 30)).shape
        torch.Size([1, 32, 20, 30])
        >>> block = PreActResidual(16, drop=lambda: nn.Dropout2d(0.1), activation=nn.SiLU)
    """

    memory_efficient: bool = False  # for blocks pickled before there was a choice

    @options_by_name
    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        drop: Callable[..., nn.Module] | None = paper_drop_block,
        drop_path: Callable[..., nn.Module] | None = None,
        norm: Callable[..., nn.Module] | None = batch_norm,
        activation: Callable[[], nn.Module] = nn.ReLU,
        inplace: bool = False,
        memory_efficient: bool = False,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        owner = type(self).__name__
        check_ints(owner, 1, in_channels=in_channels, out_channels=out_channels)
        check_spatial_dims(owner, spatial_dims)
        check_kind(owner, bool, memory_efficient=memory_efficient)
        self.memory_efficient = memory_efficient
        in_channels, out_channels = plain(in_channels), plain(out_channels)
        self.spatial_dims = plain(spatial_dims)
        convolution = CONVOLUTION[self.spatial_dims]
        self.norm1 = self._made("norm", norm, in_channels)
        self.activation1 = self._made("activation", activation)
        self.conv1 = convolution(in_channels, out_channels, 3, padding=1)
        self.drop1 = self._made("drop", drop)
        self.norm2 = self._made("norm", norm, out_channels)
        self.activation2 = self._made("activation", activation)
        self.conv2 = convolution(out_channels, out_channels, 3, padding=1)
        self.drop2 = self._made("drop", drop)
        self.drop_path = self._made("drop_path", drop_path)
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else convolution(in_channels, out_channels, 1)
        )
        if inplace:
            write_in_place(self.drop1, self.activation2, self.drop2)
            if norm is not None:  # if None, it would overwrite the shortcut's input
                write_in_place(self.activation1)

    def _made(self, slot: str, factory: Callable[..., nn.Module] | None, *args: int) -> nn.Module:
        """The module in a slot. None, where the slot allows it: a module that changes nothing."""
        if factory is None and slot in ("norm", "drop", "drop_path"):
            return nn.Identity()
        owner = type(self).__name__
        return made_by(owner, slot, factory, *args, spatial_dims=self.spatial_dims)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if not hasattr(self, "drop_path"):  # blocks of old pickles have none
            self.drop_path = nn.Identity()

    @property
    def in_channels(self) -> int | None:
        """The channels that the first convolution takes now. None if unknown."""
        return getattr(self.conv1, "in_channels", None)

    def branch(self, x: Tensor) -> Tensor:
        """The convolutions F(x) of the residual branch, without shortcut and drop path."""
        x = self.drop1(self.conv1(self.activation1(self.norm1(x))))
        return self.drop2(self.conv2(self.activation2(self.norm2(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``drop_path(F(x)) + shortcut(x)``."""
        check_map(type(self).__name__, x, self.in_channels, self.spatial_dims)
        with recomputation(ALL if self.memory_efficient else None, x):
            return self.drop_path(self.branch(x)) + self.shortcut(x)


class RSAB(PreActResidual):
    """The residual spatial attention block: attention on the residual branch of `PreActResidual`.

    From Guo et al., "Residual spatial attention network for retinal vessel segmentation", 2020,
    figure 4.

    .. code-block:: text

        x ─┬─ residual branch ─ attention ─ drop path ─ + ─ out
           └───────────────── identity ─────────────────┘

    Args:
        channels: Channels of input and output.
        attention: Function from a number of channels to the attention layer, or the class of a
            layer that takes no number of channels, such as the default, `SpatialAttention`.
        drop: See `PreActResidual`.
        drop_path: See `PreActResidual`.
        norm: See `PreActResidual`.
        activation: See `PreActResidual`.
        inplace: See `PreActResidual`.
        memory_efficient: See `PreActResidual`.
        spatial_dims: See `PreActResidual`.

    Shape:
        (N, channels, H, W) in, the same out, or as many sizes as `spatial_dims` says.

    Raises:
        TypeError: If a number is not an int, `attention`, `drop`, `drop_path`, `norm` or
            `activation` not a function as above, or the input not a floating-point tensor.
        ValueError: If a number is below 1, `spatial_dims` above 3, or the input is not of shape (N,
            channels, H, W).

    Example:
        >>> import torch
        >>> from torchattn_blocks import RSAB
        >>> RSAB(64)(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """

    @options_by_name
    def __init__(
        self,
        channels: int,
        *,
        attention: Callable[..., nn.Module] = SpatialAttention,
        drop: Callable[..., nn.Module] | None = paper_drop_block,
        drop_path: Callable[..., nn.Module] | None = None,
        norm: Callable[..., nn.Module] | None = batch_norm,
        activation: Callable[[], nn.Module] = nn.ReLU,
        inplace: bool = False,
        memory_efficient: bool = False,
        spatial_dims: int = 2,
    ) -> None:
        check_ints("RSAB", 1, channels=channels)
        super().__init__(
            channels,
            drop=drop,
            drop_path=drop_path,
            norm=norm,
            activation=activation,
            inplace=inplace,
            memory_efficient=memory_efficient,
            spatial_dims=spatial_dims,
        )
        self.attention = self._made("attention", attention, plain(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``drop_path(attention(F(x))) + x``."""
        check_map("RSAB", x, self.in_channels, self.spatial_dims)
        with recomputation(ALL if self.memory_efficient else None, x):
            return self.drop_path(self.attention(self.branch(x))) + self.shortcut(x)
