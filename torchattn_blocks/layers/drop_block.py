"""DropBlock: dropout of contiguous blocks.

Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS 2018.
"""

from typing import Any, Literal, cast

import torch
from torch import Tensor, fx
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import handle_torch_function, has_torch_function_unary
from torch.utils._python_dispatch import _disable_current_modes

from .._check import (
    check_at_least,
    check_choice,
    check_map,
    check_rate,
    check_rate_tensor,
    plain_int,
)
from ._block_mask import INTENSITY
from ._drop_block_op import SCALE, drop_blocks

Gamma = Literal["exact", "paper"]
Scale = Literal["constant", "batch", "position"]


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
    """Zero random blocks of a feature map and scale up what is kept.

    From Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS
    2018 ("the paper" below). At every position where a whole block fits, a block starts with
    probability gamma, independently of the others. In evaluation and at ``p=0`` the input itself
    is returned. At ``p=1`` the output is zero.

    Args:
        x: Feature maps of shape (N, C, H, W), in any floating dtype and memory format.
        p: Probability that an element is dropped, 0 to 1. The paper's ``keep_prob`` is ``1 - p``.
            With a 0-d tensor, `torch.compile` does not recompile when the value changes.
        block_size: Height and width of a block, or one number for both. A block larger than the
            feature map is clipped to it.
        training: Whether to drop.
        gamma: How gamma is computed from `p`. ``"exact"`` drops on average the fraction `p` of the
            elements. ``"paper"`` is equation 1 of the paper, which counts overlapping blocks twice
            and therefore drops less than `p`.
        scale: The factor for kept elements. ``"constant"``: ``1 / (1 - p)``, as in
            `torch.nn.Dropout`. ``"batch"``: the paper's ratio of all elements to kept elements,
            counted over the whole tensor, so that the output of a sample depends on the other
            samples of its batch. ``"position"``: the inverse of the keep probability of each
            position, so that every position keeps its mean. (Fewer blocks cover the border, so
            elements there are dropped less often.)
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
        ValueError: If `x` does not have four dimensions, `p` lies outside [0, 1] or requires a
            gradient, `block_size` has neither one nor two entries, or one below 1, or `gamma` or
            `scale` is not one of the strings above. With ``scale="position"``: if the factor of a
            position exceeds 1024. In evaluation and at ``p=0`` `x` is not checked.
        RuntimeError: If ``inplace=True`` and `x` is a leaf tensor that requires a gradient.

    Note:
        The backward pass draws the mask again from an 8-byte seed. torchvision implements
        ``gamma="paper", scale="batch"``, but counts kept elements in the dtype of the input: on
        large float16 feature maps the count overflows and the output is zero. In timm blocks also
        start at the border, so that on small feature maps it drops far more than asked.

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import drop_block2d
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
    options: dict[str, Any] = {"gamma": gamma, "scale": scale, "channelwise": channelwise}
    if has_torch_function_unary(x):  # an FX proxy records the call; so may a subclass of Tensor
        options.update(inplace=inplace, generator=generator)
        return handle_torch_function(drop_block2d, (x,), x, p, block_size, training, **options)
    check_choice("drop_block2d", INTENSITY, gamma=gamma)
    check_choice("drop_block2d", SCALE, scale=scale)
    block = _pair(block_size, "drop_block2d")
    compiling = torch.compiler.is_compiling()
    if compiling and isinstance(p, Tensor):
        check_rate_tensor(p, "drop_block2d")  # the operator checks its value
    else:
        p = check_rate(p, "drop_block2d")
    if not training or (not compiling and p == 0):
        return x
    check_map(x, "drop_block2d")
    # torch's generator draws the mask's seed inside the graph: compiled code and activation
    # checkpointing then replay it as they replay any random operation.
    device = "cpu" if generator is None else generator.device
    seed = torch.randint(2**63 - 1, (), generator=generator, device=device)
    return drop_blocks(x, seed, p, block, **options, inplace=inplace)


class DropBlock2d(_DropoutNd):  # by that base, tools that look for dropout find it
    """Zero random blocks of a feature map in training and scale up what is kept.

    From Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS
    2018. In evaluation it returns its input. It has no parameters and adds no key to a state dict.
    It is a subclass of torch's base class of dropout layers, so that tools that find dropout
    layers find it too.

    Args:
        p: Probability that an element is dropped, see `torchattn_blocks.functional.drop_block2d`.
            It can be changed as ``layer.p = 0.2``. Compiled code is not recompiled, unless it
            contains this assignment itself.
        block_size: Height and width of a block.
        gamma: ``"exact"`` or ``"paper"``, see `drop_block2d`.
        scale: ``"constant"``, ``"batch"`` or ``"position"``, see `drop_block2d`.
        channelwise: Whether each channel has its own blocks.
        inplace: Whether to write into the input.

    Shape:
        (N, C, H, W) in, the same out; dtype and memory format are kept.

    Raises:
        TypeError: If `p` is not a number, an entry of `block_size` is not an int, or the input is
            not a floating-point tensor.
        ValueError: If `p` lies outside [0, 1], `block_size` has neither one nor two entries, or one
            below 1, `gamma` or `scale` is not one of the strings above, or the input does not have
            four dimensions.

    Note:
        ``DropBlock2d(p, b, gamma="paper", scale="batch")`` is the layer of the paper and of
        torchvision. `p` is the first argument, as in `torch.nn.Dropout`; some other libraries have
        `block_size` first.

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
        super().__init__(inplace=inplace)
        check_choice("DropBlock2d", INTENSITY, gamma=gamma)
        check_choice("DropBlock2d", SCALE, scale=scale)
        self.p = p
        self.block_size = _pair(block_size, "DropBlock2d")
        self.gamma: Gamma = gamma
        self.scale: Scale = scale
        self.channelwise = channelwise

    @property
    def p(self) -> float:
        """Probability that an element is dropped."""
        return self._p

    @p.setter
    def p(self, p: float | Tensor) -> None:
        self._p = check_rate(p, "DropBlock2d")
        # For compiled code, which takes a tensor for an input and a float for a constant. It is a
        # plain attribute: a buffer would be rounded by .half() and stand in the state dict. It is a
        # new one each time: a backward pass may still hold the last. It has one element, not none:
        # compiled code treats 0-d tensors as numbers, and would be compiled twice.
        self._p_tensor: Tensor | None = None
        if not torch.compiler.is_compiling():  # else the float itself is part of the graph
            # An ordinary tensor, even in inference mode, under fake tensors or in a transform.
            with (
                torch.inference_mode(False),
                _disable_current_modes(),
                torch._C._DisableFuncTorch(),
            ):
                self._p_tensor = torch.tensor([self._p], dtype=torch.float64, device="cpu")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_p_tensor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.p = self._p

    def forward(self, x: Tensor) -> Tensor:
        """Drop blocks of `x`, or return it unchanged in evaluation."""
        if isinstance(recorded := cast(Any, x), fx.Proxy):
            tracer = cast(Any, recorded.tracer)
            if getattr(tracer, "root", self) is not self:
                # A module of the traced graph, as torch's own dropout is: its mode can be switched.
                path = tracer.path_of_module(self)
                return cast(Tensor, tracer.create_proxy("call_module", path, (x,), {}))
        if not self.training:
            return x
        p: float | Tensor = self._p
        if self._p_tensor is not None and torch.compiler.is_compiling():
            p = self._p_tensor[0]
        return drop_block2d(
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


def paper_drop_block(p: float = 0.15, block_size: int = 7, *, inplace: bool = False) -> DropBlock2d:
    """DropBlock as the RSAN paper uses it; by default with the paper's `p` for DRIVE."""
    return DropBlock2d(p, block_size, gamma="paper", scale="batch", inplace=inplace)


def _pair(block_size: Any, owner: str) -> tuple[int, int]:
    pair = block_size if isinstance(block_size, tuple | list) else (block_size, block_size)
    if len(pair) != 2:
        raise ValueError(f"{owner}: block_size must be one number or two, got {block_size}")
    for size in pair:
        check_at_least(owner, 1, block_size=size)
    height, width = map(plain_int, pair)
    return height, width
