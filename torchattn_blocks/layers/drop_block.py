"""DropBlock: dropout of contiguous blocks.

Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS 2018.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._check import (
    check_choice,
    check_features,
    options_by_name,
)
from .._dims import per_axis
from ._block_mask import INTENSITY
from ._drop_block_op import SCALE, drop_blocks
from ._dropping import Dropping, rate_to_drop

Gamma = Literal["exact", "paper"]
Scale = Literal["constant", "batch", "position", "none"]


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
    """Zero random blocks of a feature map and scale up the rest.

    From Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS
    2018 ("the paper" below). At every position where a whole block fits, a block starts with
    probability gamma, independently of the others. In evaluation and at ``p=0`` the input itself
    is returned. At ``p=1`` the output is zero.

    Args:
        x: Feature maps of shape (N, C, H, W), or (C, H, W) without a batch, in any floating dtype
            and memory format.
        p: Probability that an element is dropped, 0 to 1. The paper's ``keep_prob`` is ``1 - p``.
            If you pass a 0-d tensor, `torch.compile` does not recompile when the value changes.
        block_size: Height and width of a block, or one number for both. A block larger than the
            feature map is clipped to it.
        training: Whether to drop.
        gamma: How gamma is computed from `p`. ``"exact"`` drops the fraction `p` of the elements on
            average. ``"paper"`` is equation 1 of the paper, which counts overlapping blocks twice
            and therefore drops less than `p`.
        scale: The factor for kept elements. ``"constant"``: ``1 / (1 - p)``, as in
            `torch.nn.Dropout`. ``"batch"``: the paper's ratio of all elements to kept elements,
            counted over the whole tensor, so a sample's output depends on the other samples of its
            batch. ``"position"``: the inverse of each position's keep probability, so every
            position keeps its mean. (Fewer blocks cover the border, so elements there are dropped
            less often.) ``"none"``: 1, so the mean falls.
        channelwise: Whether each channel has its own blocks. If False, all channels of a sample
            share their blocks.
        inplace: Whether to write into `x`. This is safe after a convolution, whose backward pass
            does not need its output.
        generator: Random number generator for the mask. By default it is torch's own, so that
            `torch.manual_seed` determines the mask.

    Returns:
        A tensor with the shape, dtype, device and memory format of `x`.

    Raises:
        TypeError: If `x` is not a floating-point tensor, `p` is neither a number nor a 0-d
            floating-point tensor, or an entry of `block_size` is not an int.
        ValueError: If `x` has neither three nor four dimensions, `p` lies outside [0, 1] or
            requires a gradient, `block_size` has neither one nor two entries, or one below 1, or
            `gamma` or `scale` is not one of the strings above. With ``scale="position"``: if the
            factor of a position exceeds 1024. In evaluation and at ``p=0`` `x` is not checked.
        RuntimeError: If ``inplace=True`` and `x` is a leaf tensor that requires a gradient.

    Note:
        The backward pass draws the mask again from an 8-byte seed; on a CPU it keeps masks of up to
        512 elements, one byte each. torchvision implements ``gamma="paper", scale="batch"``, but
        counts kept elements in the dtype of the input: on large float16 feature maps the count
        overflows and the output is zero. In timm, blocks also start at the border, so on small
        feature maps it drops far more than you ask for.

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import drop_block2d
        >>> x = torch.ones(1, 1, 4, 6)
        >>> y = drop_block2d(x, p=0.5, block_size=2, generator=torch.Generator().manual_seed(4))
        >>> y[0, 0]
        tensor([[2., 2., 0., 0., 0., 2.],
                [2., 0., 0., 0., 0., 2.],
                [2., 0., 0., 0., 0., 2.],
                [2., 2., 2., 0., 0., 2.]])
        >>> drop_block2d(x, p=0.5, block_size=2, training=False) is x
        True
    """
    options = (gamma, scale, channelwise, inplace, generator)
    return _drop_block(drop_block2d, 2, x, p, block_size, training, *options)


def drop_block1d(
    x: Tensor,
    p: float | Tensor = 0.1,
    block_size: int | tuple[int] = 7,
    training: bool = True,
    *,
    gamma: Gamma = "exact",
    scale: Scale = "constant",
    channelwise: bool = True,
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Zero random segments of a sequence of features and scale up the rest.

    Takes the arguments of `drop_block2d`, with one length as `block_size`. Shapes are (N, C, L)
    or (C, L).

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import drop_block1d
        >>> x = torch.ones(1, 2, 8)
        >>> drop_block1d(x, p=0.5, block_size=3, generator=torch.Generator().manual_seed(4))
        tensor([[[2., 2., 0., 0., 0., 0., 0., 0.],
                 [0., 0., 0., 0., 0., 2., 2., 2.]]])
    """
    options = (gamma, scale, channelwise, inplace, generator)
    return _drop_block(drop_block1d, 1, x, p, block_size, training, *options)


def drop_block3d(
    x: Tensor,
    p: float | Tensor = 0.1,
    block_size: int | tuple[int, int, int] = 7,
    training: bool = True,
    *,
    gamma: Gamma = "exact",
    scale: Scale = "constant",
    channelwise: bool = True,
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Zero random cuboids of a feature volume and scale up the rest.

    Takes the arguments of `drop_block2d`; `block_size` is depth, height and width, or one
    number for all three. Shapes are (N, C, D, H, W) or (C, D, H, W).

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import drop_block3d
        >>> drop_block3d(torch.ones(2, 4, 8, 32, 32), p=0.2, block_size=(2, 5, 5)).shape
        torch.Size([2, 4, 8, 32, 32])
    """
    options = (gamma, scale, channelwise, inplace, generator)
    return _drop_block(drop_block3d, 3, x, p, block_size, training, *options)


def _drop_block(
    function: Callable[..., Tensor],
    axes: int,
    x: Tensor,
    p: float | Tensor,
    block_size: int | tuple[int, ...],
    training: bool,
    gamma: Gamma,
    scale: Scale,
    channelwise: bool,
    inplace: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """Implement `drop_block1d`, `drop_block2d` and `drop_block3d`."""
    name = function.__name__
    options: dict[str, Any] = {"gamma": gamma, "scale": scale, "channelwise": channelwise}
    if has_torch_function_unary(x):  # an FX proxy records the call; so may a subclass of Tensor
        options.update(inplace=inplace, generator=generator)
        return handle_torch_function(function, (x,), x, p, block_size, training, **options)
    check_choice(name, INTENSITY, gamma=gamma)
    check_choice(name, SCALE, scale=scale)
    block = per_axis(name, "block_size", block_size, axes)
    rate = rate_to_drop(name, p, training)
    if rate is None:
        return x
    check_features(name, x, axes)
    # torch's generator draws the mask's seed inside the graph, so compiled code and activation
    # checkpointing replay it like any random operation. On CUDA the seed stays on the device:
    # reading it would make the host wait.
    device = generator.device if generator is not None else x.device if x.is_cuda else "cpu"
    seed = torch.randint(2**63 - 1, (), generator=generator, device=device)
    return drop_blocks(x, seed, rate, block, **options, inplace=inplace)


class DropBlock(Dropping):
    """The base of `DropBlock1d`, `DropBlock2d` and `DropBlock3d`, for ``isinstance``.

    Takes the arguments of `DropBlock2d`.

    Raises:
        TypeError: If you call this class itself: it does not know the number of dimensions.

    Example:
        >>> from torchattn_blocks import DropBlock, rsan
        >>> sum(isinstance(module, DropBlock) for module in rsan().modules())
        28
    """

    _axes: ClassVar[int] = 0
    _function: ClassVar[Callable[..., Tensor]]

    @options_by_name
    def __init__(
        self,
        p: float = 0.1,
        block_size: int | tuple[int, ...] = 7,
        *,
        gamma: Gamma = "exact",
        scale: Scale = "constant",
        channelwise: bool = True,
        inplace: bool = False,
    ) -> None:
        if not self._axes:
            raise TypeError("DropBlock: call DropBlock1d, DropBlock2d or DropBlock3d, got the base")
        check_choice(type(self).__name__, INTENSITY, gamma=gamma)
        check_choice(type(self).__name__, SCALE, scale=scale)
        super().__init__(p, inplace=inplace)
        self.block_size = per_axis(type(self).__name__, "block_size", block_size, self._axes)
        self.gamma: Gamma = gamma
        self.scale: Scale = scale
        self.channelwise = channelwise

    def drop(self, x: Tensor, p: float | Tensor) -> Tensor:
        """Drop blocks of `x`."""
        return self._function(
            x,
            p,
            self.block_size,
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


class DropBlock2d(DropBlock):
    """Zero random blocks of a feature map in training and scale up the rest.

    From Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS
    2018. In evaluation it returns its input. It has no parameters and adds no key to a state dict.
    It is a subclass of torch's base class of dropout layers, so tools that find dropout layers find
    it too.

    Args:
        p: Probability that an element is dropped, see `torchattn_blocks.functional.drop_block2d`.
            You can change it with ``layer.p = 0.2``. Compiled code is not recompiled, unless it
            contains this assignment itself.
        block_size: Height and width of a block.
        gamma: ``"exact"`` or ``"paper"``, see `drop_block2d`.
        scale: ``"constant"``, ``"batch"``, ``"position"`` or ``"none"``, see `drop_block2d`.
        channelwise: Whether each channel has its own blocks.
        inplace: Whether to write into the input.

    Shape:
        (N, C, H, W) or (C, H, W) in, the same out; dtype and memory format are kept.

    Raises:
        TypeError: If `p` is not a number, an entry of `block_size` is not an int, or the input is
            not a floating-point tensor.
        ValueError: If `p` lies outside [0, 1], `block_size` has neither one nor two entries, or one
            below 1, `gamma` or `scale` is not one of the strings above, or the input has neither
            three nor four dimensions.

    Note:
        ``DropBlock2d(p, b, gamma="paper", scale="batch")`` is the layer of the paper and
        torchvision. `p` comes first, as in `torch.nn.Dropout`; in some other libraries `block_size`
        does.

    Example:
        >>> import torch
        >>> from torchattn_blocks import DropBlock2d
        >>> layer = DropBlock2d(p=0.15, block_size=7)
        >>> layer(torch.randn(2, 16, 64, 64)).shape
        torch.Size([2, 16, 64, 64])
        >>> layer.p = 0.2
        >>> layer.eval()(torch.ones(1, 1, 2, 2))
        tensor([[[[1., 1.],
                  [1., 1.]]]])
    """

    _axes = 2
    _function = staticmethod(drop_block2d)


class DropBlock1d(DropBlock):
    """Zero random segments of sequences of features in training and scale up the rest.

    Takes the arguments of `DropBlock2d`, with one length as `block_size`.

    Shape:
        (N, C, L) or (C, L) in, the same out; dtype is kept.

    Example:
        >>> import torch
        >>> from torchattn_blocks import DropBlock1d
        >>> DropBlock1d(p=0.1, block_size=9)(torch.randn(8, 32, 250)).shape
        torch.Size([8, 32, 250])
    """

    _axes = 1
    _function = staticmethod(drop_block1d)


class DropBlock3d(DropBlock):
    """Zero random cuboids of feature volumes in training and scale up the rest.

    Takes the arguments of `DropBlock2d`, with depth, height and width as `block_size`.

    Shape:
        (N, C, D, H, W) or (C, D, H, W) in, the same out; dtype and memory format are kept.

    Example:
        >>> import torch
        >>> from torchattn_blocks import DropBlock3d
        >>> DropBlock3d(p=0.1, block_size=(2, 5, 5))(torch.randn(2, 4, 8, 32, 32)).shape
        torch.Size([2, 4, 8, 32, 32])
    """

    _axes = 3
    _function = staticmethod(drop_block3d)


CLASSES: dict[int, type[DropBlock]] = {1: DropBlock1d, 2: DropBlock2d, 3: DropBlock3d}


def paper_drop_block(
    p: float = 0.15,
    block_size: int = 7,
    *,
    gamma: Gamma = "paper",
    scale: Scale = "batch",
    spatial_dims: int = 2,
    inplace: bool = False,
) -> DropBlock:
    """DropBlock as the RSAN paper uses it; by default with the paper's `p` for DRIVE."""
    return CLASSES[spatial_dims](p, block_size, gamma=gamma, scale=scale, inplace=inplace)
