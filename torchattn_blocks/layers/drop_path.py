"""Stochastic depth: dropout of whole samples, for the residual branches of a network.

Huang, Sun, Liu, Sedra & Weinberger, "Deep networks with stochastic depth", ECCV 2016.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._check import check_choice, check_floating, options_by_name
from ._dropping import Dropping, rate_to_drop, refuse_dtensor

Mode = Literal["row", "batch"]
MODES = ("row", "batch")


def stochastic_depth(
    x: Tensor,
    p: float | Tensor = 0.1,
    mode: Mode = "row",
    training: bool = True,
    *,
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Zero whole samples at random and scale up the others.

    .. math:: y_n = \frac{b_n}{1 - p}\, x_n, \qquad b_n \sim \mathrm{Bernoulli}(1 - p)

    From Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 2, where x is the
    output of a residual branch. If the branch is dropped, only the block's shortcut is left. As in
    today's libraries, training multiplies by ``1 / (1 - p)``; the paper multiplies `x` by ``1 - p``
    in evaluation instead. In evaluation and at ``p=0`` the input itself is returned.

    Args:
        x: Tensor of any shape (N, ...) with one dimension or more, in any floating dtype.
        p: Probability that a sample is dropped, 0 to 1. The paper's survival probability is
            ``1 - p``. If you pass a 0-d tensor, `torch.compile` does not recompile when the value
            changes, and compiled code does not check it.
        mode: ``"row"``: each sample is kept or dropped on its own. ``"batch"``: the whole tensor is
            kept or dropped, so all samples have the same depth, as in the paper.
        training: Whether to drop.
        inplace: Whether to write into `x`.
        generator: Random number generator for the decisions. By default it is torch's own, so that
            `torch.manual_seed` determines them.

    Returns:
        A tensor with the shape, dtype, device and memory format of `x`.

    Raises:
        TypeError: If `x` is not a floating-point tensor or is a ``DTensor``, or `p` is neither a
            number nor a 0-d floating-point tensor.
        ValueError: If `x` has no dimension, `p` lies outside [0, 1] or requires a gradient, or
            `mode` is not one of the strings above. In evaluation and at ``p=0`` `x` is not checked.
        RuntimeError: If ``inplace=True`` and `x` is a leaf tensor that requires a gradient.

    Note:
        Arguments and arithmetic are the same as in ``torchvision.ops.stochastic_depth``; the
        samples that a seed drops differ. The backward pass keeps one number per sample. Dropped
        samples are multiplied by zero, so an infinite element becomes NaN, as in other libraries.

    Example:
        >>> import torch
        >>> from torchattn_blocks.functional import stochastic_depth
        >>> x = torch.ones(4, 2)
        >>> stochastic_depth(x, p=0.5, generator=torch.Generator().manual_seed(0))
        tensor([[0., 0.],
                [2., 2.],
                [0., 0.],
                [0., 0.]])
        >>> stochastic_depth(x, p=0.5, training=False) is x
        True
    """
    name = "stochastic_depth"
    if has_torch_function_unary(x):  # an FX proxy records the call; so may a subclass of Tensor
        options: dict[str, Any] = {"inplace": inplace, "generator": generator}
        return handle_torch_function(stochastic_depth, (x,), x, p, mode, training, **options)
    check_choice(name, MODES, mode=mode)
    rate = rate_to_drop(name, p, training)
    if rate is None:
        return x
    if check_floating(name, x).dim() == 0:
        raise ValueError(f"{name}: x must have one dimension or more (N, ...), got shape ()")
    refuse_dtensor(name, x)
    rows = (x.shape[0] if mode == "row" else 1, *[1] * (x.dim() - 1))
    # A generator argument, even None, keeps compiled code from using symbolic sizes.
    own: dict[str, Any] = {} if generator is None else {"generator": generator}
    kept = torch.rand(rows, device=x.device, **own) >= rate
    factors = kept.to(x.dtype) * _scale(rate)
    return x.mul_(factors) if inplace else x * factors


def _scale(p: float | Tensor) -> float | Tensor:
    """The factor for kept samples; if none are kept, any finite number."""
    if isinstance(p, Tensor):
        return torch.where(p < 1, 1 / (1 - p), 0.0)
    return 1 / (1 - p) if p < 1 else 0.0


class StochasticDepth(Dropping):
    """Zero whole samples at random in training and scale up the others.

    From Huang et al., "Deep networks with stochastic depth", ECCV 2016. Put it at the end of a
    residual branch, before the sum: `PreActResidual` and `RSAB` take it as `drop_path`. In
    evaluation it returns its input. It has no parameters and adds no key to a state dict. It is a
    subclass of torch's base class of dropout layers, so tools that find dropout layers find it too.

    Args:
        p: Probability that a sample is dropped. You can change it with ``layer.p = 0.2``. Compiled
            code is not recompiled, unless it contains this assignment itself.
        mode: ``"row"``: each sample is kept or dropped on its own. ``"batch"``: all samples of a
            batch together, as in the paper.
        inplace: Whether to write into the input.

    Shape:
        (N, ...) in, with one dimension or more; the same out; dtype and memory format are kept.

    Raises:
        TypeError: If `p` is not a number or the input not a floating-point tensor.
        ValueError: If `p` lies outside [0, 1], `mode` is not one of the strings above, or the input
            has no dimension.
        RuntimeError: If ``inplace=True`` and the input is a leaf tensor that requires a gradient.

    Note:
        ``StochasticDepth(p, mode)`` takes the arguments of torchvision's layer of this name. timm's
        ``DropPath(p)`` is ``StochasticDepth(p)``; its ``scale_by_keep=False`` has no counterpart.
        In the paper `p` grows linearly over the depth of a network: use `DropSchedule` with
        ``over_depth=True`` for this.

    Example:
        >>> import torch
        >>> from torchattn_blocks import StochasticDepth
        >>> layer = StochasticDepth(p=0.2)
        >>> layer(torch.randn(8, 16, 32, 32)).shape
        torch.Size([8, 16, 32, 32])
        >>> layer.eval()(torch.ones(2, 3))
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """

    @options_by_name
    def __init__(self, p: float = 0.1, mode: Mode = "row", *, inplace: bool = False) -> None:
        check_choice(type(self).__name__, MODES, mode=mode)
        super().__init__(p, inplace=inplace)
        self.mode: Mode = mode

    def drop(self, x: Tensor, p: float | Tensor) -> Tensor:
        """Drop samples of `x`."""
        return stochastic_depth(x, p, self.mode, inplace=self.inplace)

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return f"p={self.p:g}, mode={self.mode!r}, inplace={self.inplace}"
