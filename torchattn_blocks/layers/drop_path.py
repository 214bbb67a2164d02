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
    r"""Zero whole samples at random and scale up those that are kept.

    .. math:: y_n = \frac{b_n}{1 - p}\, x_n, \qquad b_n \sim \mathrm{Bernoulli}(1 - p)

    From Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 2, where x is the
    output of a residual branch: what is left of a block whose branch is dropped is its shortcut. As
    in today's libraries, the factor ``1 / (1 - p)`` stands in training; in the paper `x` is
    multiplied by ``1 - p`` in evaluation instead. In evaluation and at ``p=0`` the input itself is
    returned.

    Args:
        x: Tensor of any shape (N, ...) with one dimension or more, in any floating dtype.
        p: Probability that a sample is dropped, 0 to 1. The paper's survival probability is
            ``1 - p``. With a 0-d tensor, `torch.compile` does not recompile when the value changes,
            and compiled code does not check it.
        mode: ``"row"``: each sample is kept or dropped on its own. ``"batch"``: the whole tensor
            is, so that all samples have the same depth, as in the paper.
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
        The arguments and the arithmetic are those of ``torchvision.ops.stochastic_depth``; which
        samples a seed drops differs. The backward pass keeps one number for each sample. What is
        dropped is multiplied by zero, so that an infinite element becomes NaN, as in other
        libraries.

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
    # Named, even if it is None, a generator keeps compiled code from taking symbolic sizes.
    own: dict[str, Any] = {} if generator is None else {"generator": generator}
    kept = torch.rand(rows, device=x.device, **own) >= rate
    factors = kept.to(x.dtype) * _scale(rate)
    return x.mul_(factors) if inplace else x * factors


def _scale(p: float | Tensor) -> float | Tensor:
    """The factor of what is kept; if nothing is, any finite number."""
    if isinstance(p, Tensor):
        return torch.where(p < 1, 1 / (1 - p), 0.0)
    return 1 / (1 - p) if p < 1 else 0.0


class StochasticDepth(Dropping):
    """Zero whole samples at random in training and scale up those that are kept.

    From Huang et al., "Deep networks with stochastic depth", ECCV 2016. It stands at the end of a
    residual branch, before the sum: `PreActResidual` and `RSAB` take it as `drop_path`. In
    evaluation it returns its input. It has no parameters and adds no key to a state dict. It is a
    subclass of torch's base class of dropout layers, so that tools that find dropout layers find it
    too.

    Args:
        p: Probability that a sample is dropped. It can be changed as ``layer.p = 0.2``. Compiled
            code is not recompiled, unless it contains this assignment itself.
        mode: ``"row"``: each sample is kept or dropped on its own. ``"batch"``: all samples of a
            batch are, as in the paper.
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
        In the paper `p` grows linearly over the depth of a network: `DropSchedule` sets this with
        ``over_depth=True``.

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
