"""DropBlock: dropout of contiguous blocks.

Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS 2018.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ._block_mask import INTENSITY, BlockMask, covered_elements, covering_cells
from ._check import check_at_least, check_choice, check_map

Gamma = Literal["exact", "paper"]
Scale = Literal["constant", "batch", "position"]

# A position kept so rarely that it must be multiplied by more than this carries its mean in fewer
# than one draw in a thousand: noise in any dtype, and soon an overflow in float16.
_LARGEST_POSITION_SCALE = 1024.0


def drop_block2d(
    x: Tensor,
    p: float | Tensor = 0.1,
    block_size: int | tuple[int, int] = 7,
    training: bool = True,
    *,
    gamma: Gamma = "exact",
    scale: Scale = "constant",
    channelwise: bool = True,
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Zero random rectangles of a map and scale up what is kept.

    Seeds fall independently, with probability gamma, on every place where a whole block fits; each
    drops the block that it starts. Outside training, and at ``p=0``, the input itself is returned;
    at ``p=1`` all is dropped.

    Args:
        x: Maps of shape (N, C, H, W), of any floating dtype and memory format.
        p: Fraction of the elements to drop, 0 to 1; a 0-d CPU tensor is taken as it is, so that it
            can change under `torch.compile` without recompiling. The paper's ``keep_prob`` is
            ``1 - p``.
        block_size: Height and width of a block, or one number for both; clipped to the map.
        training: Whether to drop at all.
        gamma: How the probability of a seed follows from `p`. ``"exact"`` solves for the one at
            which the fraction dropped is, on average, `p`. ``"paper"`` is the paper's equation 1,
            which counts overlapping blocks twice and therefore drops less than `p`.
        scale: What kept elements are multiplied by. ``"constant"``: ``1 / (1 - p)``, as dropout
            does. ``"batch"``: the paper's ratio of all elements to those kept, counted over the
            whole tensor, which couples the samples of a batch. ``"position"``: the inverse of each
            position's own keep probability, so that every position keeps its mean; positions
            covered by few blocks, at the border, are kept more often and scaled up less.
        channelwise: Whether each channel has blocks of its own; else one set serves all channels of
            a sample.
        inplace: Whether to write into `x`. Safe after a convolution, whose backward pass does not
            need its output. Compiled code ignores it: the compiler places memory itself.
        generator: Where the mask's random number comes from; by default torch's own generator, so
            that `torch.manual_seed` fixes the mask.

    Returns:
        A tensor of the shape, dtype, device and memory format of `x`.

    Raises:
        TypeError: If `x` is not a floating tensor, or another argument has the wrong type.
        ValueError: If `x` has not four dimensions or another argument is out of bounds; if, with
            ``scale="position"``, a position would be scaled up more than 1024 times.

    Note:
        Peers: torchvision and timm implement ``gamma="paper", scale="batch"`` (torchvision counts
        in the dtype of the input and returns zeros for large float16 maps; timm lets seeds fall at
        the border too, and drops far more than asked on small maps). For backward only a 64-bit
        number is held, from which the mask is painted again.

    Example:
        >>> x = torch.ones(1, 1, 4, 6)
        >>> y = drop_block2d(x, p=0.5, block_size=2, generator=torch.Generator().manual_seed(4))
        >>> y[0, 0]
        tensor([[2., 0., 0., 0., 0., 0.],
                [2., 0., 0., 0., 0., 0.],
                [2., 2., 2., 0., 0., 2.],
                [2., 2., 2., 0., 0., 2.]])
        >>> drop_block2d(x, p=0.5, block_size=2, training=False) is x
        True
    """
    check_map(x, "drop_block2d")
    check_choice("drop_block2d", INTENSITY, gamma=gamma)
    check_choice("drop_block2d", _SCALE, scale=scale)
    block = _pair(block_size, "drop_block2d")
    compiling = torch.compiler.is_compiling()
    if not isinstance(p, Tensor):
        p = rate_tensor(p, "drop_block2d")
    elif p.dim() != 0 or p.device.type != "cpu" or not p.is_floating_point():
        raise TypeError(f"drop_block2d: p must be a float or a 0-d floating CPU tensor, got {p!r}")
    elif not compiling:
        rate_tensor(float(p), "drop_block2d")  # only for its check of the value
    if not training or (not compiling and float(p) == 0):
        return x
    # torch's generator draws the mask's seed inside the graph: compiled code and activation
    # checkpointing then replay it as they replay any random operation.
    device = "cpu" if generator is None else generator.device
    seed = torch.randint(2**63 - 1, (), generator=generator, device=device)
    arguments = (x, seed, p, block, gamma, scale, channelwise)
    if inplace and not compiling:
        return _DropBlockInPlace.apply(*arguments)  # type: ignore[no-untyped-call]
    return _drop_block(*arguments)


class DropBlock2d(nn.Module):
    """Zero random rectangles of a map in training and scale up what is kept.

    Has no parameters and adds nothing to a state dict. In evaluation it returns its input.

    Args:
        p: Fraction of the elements to drop, 0 to 1: ``1 - keep_prob`` of the paper. It can be read
            and set at any time as ``layer.p``; compiled code does not recompile for it.
        block_size: Height and width of a block, or one number for both; clipped to the map.
        gamma: ``"exact"``, to drop the fraction `p`, or the approximation of the ``"paper"``.
        scale: ``"constant"``, ``"batch"`` (the paper's) or ``"position"``.
        channelwise: Whether each channel has blocks of its own.
        inplace: Whether to write into the input.

    The arguments are those of `torchattn_blocks.functional.drop_block2d`, which says more of each.

    Shape:
        (N, C, H, W) in, the same out, with dtype and memory format kept.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of bounds.

    Note:
        ``DropBlock2d(p, b, gamma="paper", scale="batch")`` is the layer of the paper and of
        torchvision. Peers take `block_size` first or name `p` otherwise; here the order is that of
        `torch.nn.Dropout`.

    Example:
        >>> layer = DropBlock2d(p=0.15, block_size=7)
        >>> layer(torch.randn(2, 16, 64, 64)).shape
        torch.Size([2, 16, 64, 64])
        >>> layer.p = 0.2
        >>> layer
        DropBlock2d(p=0.2, block_size=(7, 7), gamma='exact', scale='constant', channelwise=True, \
inplace=False)
    """

    def __init__(
        self,
        p: float = 0.1,
        block_size: int | tuple[int, int] = 7,
        *,
        gamma: Gamma = "exact",
        scale: Scale = "constant",
        channelwise: bool = True,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        check_choice("DropBlock2d", INTENSITY, gamma=gamma)
        check_choice("DropBlock2d", _SCALE, scale=scale)
        self.p = p
        self.block_size = _pair(block_size, "DropBlock2d")
        self.gamma: Gamma = gamma
        self.scale: Scale = scale
        self.channelwise = channelwise
        self.inplace = inplace

    @property
    def p(self) -> float:
        """Fraction of the elements to drop."""
        return float(self._p)

    @p.setter
    def p(self, p: float) -> None:
        # A tensor, so that torch.compile takes it for an input and not for a constant; a plain
        # attribute, because a buffer would be rounded by .half() and stand in the state dict; a new
        # one each time, because a backward pass may still hold the last.
        self._p = rate_tensor(p, "DropBlock2d")

    def forward(self, x: Tensor) -> Tensor:
        """Drop blocks of `x`, or return it unchanged in evaluation."""
        return drop_block2d(
            x,
            self._p,
            self.block_size,
            self.training,
            gamma=self.gamma,
            scale=self.scale,
            channelwise=self.channelwise,
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return (
            f"p={self.p:g}, block_size={self.block_size}, gamma={self.gamma!r}, "
            f"scale={self.scale!r}, channelwise={self.channelwise}, inplace={self.inplace}"
        )


# The operator. It is linear in x and multiplies each element by a number that does not depend on x:
# its own transpose, so that the backward pass is the same operator with the same arguments, and so
# is the backward pass of that.


@torch.library.custom_op("torchattn_blocks::drop_block", mutates_args=())
def _drop_block(
    x: Tensor,
    seed: Tensor,
    p: Tensor,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> Tensor:
    out = torch.empty_like(x)
    _write(x, out, int(seed), float(p), block_size, gamma, scale, channelwise)
    return out


@_drop_block.register_fake
def _(
    x: Tensor,
    seed: Tensor,
    p: Tensor,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> Tensor:
    return torch.empty_like(x)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, seed, p, *ctx.options = inputs
    ctx.save_for_backward(seed, p)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _drop_block(grad, *ctx.saved_tensors, *ctx.options), *[None] * 6


_drop_block.register_autograd(_backward, setup_context=_setup_context)


class _DropBlockInPlace(torch.autograd.Function):
    """The operator written into its own input, which a functional operator may not be."""

    @staticmethod
    def forward(ctx, x, seed, p, *options):  # type: ignore[no-untyped-def]
        ctx.mark_dirty(x)
        ctx.save_for_backward(seed, p)
        ctx.options = options
        _write(x, x, int(seed), float(p), *options)
        return x

    backward = staticmethod(_backward)


def _write(
    x: Tensor,
    out: Tensor,
    seed: int,
    p: float,
    block_size: Sequence[int],
    gamma: str,
    scale: str,
    channelwise: bool,
) -> None:
    """Write `x` with its blocks dropped into `out`, which may be `x`."""
    if p == 0 or x.numel() == 0:
        out.copy_(x)
        return
    if p == 1:
        out.zero_()
        return
    channels, size = x.shape[1], tuple(x.shape[2:])
    block = tuple(map(min, block_size, size))
    intensity = INTENSITY[gamma](p, size, block)
    mask = BlockMask(tuple(x.shape), (1, 1 if channelwise else channels, *block), intensity, seed)
    torch.mul(x, _SCALE[scale](x, mask, p), out=out)
    mask.fill_(out, 0.0)


def _constant_scale(x: Tensor, mask: BlockMask, p: float) -> float:
    return 1 / (1 - p)


def _batch_scale(x: Tensor, mask: BlockMask, p: float) -> float:
    kept = x.numel() - covered_elements(mask, x.device)
    return x.numel() / kept if kept else 0.0


def _position_scale(x: Tensor, mask: BlockMask, p: float) -> Tensor:
    cover = reduce(np.multiply.outer, map(covering_cells, mask.shape[2:], mask.block[2:]))
    largest = math.exp(mask.intensity * cover.max())
    if largest > _LARGEST_POSITION_SCALE:
        raise ValueError(
            f'scale="position" needs a keep probability of at least 1/{_LARGEST_POSITION_SCALE:g} '
            f"at every position; p={p:g} with blocks of {mask.block[2:]} on maps of "
            f"{mask.shape[2:]} leaves {1 / largest:.2g} at the most covered one: lower p"
        )
    return torch.from_numpy(np.exp(mask.intensity * cover)).to(x.dtype).to(x.device)


_SCALE: dict[str, Callable[[Tensor, BlockMask, float], float | Tensor]] = {
    "constant": _constant_scale,
    "batch": _batch_scale,
    "position": _position_scale,
}


def rate_tensor(p: float, owner: str) -> Tensor:
    """A checked drop rate as a 0-d CPU tensor; `owner` is named in errors."""
    if isinstance(p, bool) or not isinstance(p, int | float | np.floating):
        raise TypeError(f"{owner}: p must be a number, got {p!r}")
    if not 0 <= p <= 1:  # false for NaN too
        raise ValueError(f"{owner}: p must lie in [0, 1], got {p}")
    return torch.tensor(float(p), dtype=torch.float64, device="cpu")


def _pair(block_size: int | tuple[int, int], owner: str) -> tuple[int, int]:
    pair = block_size if isinstance(block_size, tuple | list) else (block_size, block_size)
    if len(pair) != 2:
        raise ValueError(f"{owner}: block_size must be one number or two, got {block_size}")
    for size in pair:
        check_at_least(owner, 1, block_size=size)
    return (pair[0], pair[1])
