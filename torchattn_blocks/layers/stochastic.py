"""Monte-Carlo dropout: random layers that stay random in evaluation.

Gal & Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep
learning", ICML 2016.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from .._check import check_at_least, check_kind
from ._with import for_with

# What drops in training mode: dropout layers; modules that drop by themselves; and one that without
# gradients skips its dropout layers unless it is in training mode.
_DROP = (_DropoutNd, nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer)


@for_with
def monte_carlo(
    model: nn.Module, *, where: Callable[[str, nn.Module], bool] | None = None
) -> Iterator[None]:
    """Keep the random layers of a model random, and have all others in evaluation mode.

    From Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016: the outputs of several
    forward passes with dropout are samples, and their spread shows where the model is uncertain.
    Inside the block everything of torch's that drops is in training mode, each module without its
    children: dropout layers, `torch.nn.MultiheadAttention`, recurrent layers and
    `torch.nn.TransformerEncoderLayer`; so are DropBlock layers. All other modules are in evaluation
    mode, so that batch normalisation uses its running statistics and does not change them. After
    the block, also after an error, each module has its own mode back.

    Args:
        model: A module with dropout layers. It may be wrapped, as by `torch.compile` and
            `torch.nn.parallel.DistributedDataParallel`.
        where: A function ``where(name, module)``, true for further modules to put into training
            mode, each without its children: those that call `torch.nn.functional.dropout` with
            their own mode, timm's DropPath, `torch.nn.RReLU`. It is called for each module that is
            none of those above, with the names of ``model.named_modules()``.

    Returns:
        A context manager. Blocks can be nested; the inner one decides.

    Raises:
        TypeError: If `model` is not a module or `where` is not callable, or if what is returned is
            called: call the model in the block.
        ValueError: If `model` has no dropout layer and `where` picks no module: nothing would be
            random.

    Note:
        Gradients are recorded as usual: add `torch.no_grad` for inference. A layer with ``p=0`` is
        accepted, because its rate may be set inside the block, but it drops nothing.

        Only modes are set, and `train` is not called. Modules that override it, such as frozen
        batch normalisation, therefore stay as they are. Modules that are added inside the block
        keep the mode they come with.

    Example:
        >>> import torch
        >>> from torchattn_blocks import DropBlock2d, monte_carlo
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), DropBlock2d(0.5, 2)).eval()
        >>> with monte_carlo(model):
        ...     print([module.training for module in model])
        [False, True]
        >>> [module.training for module in model]
        [False, False]
    """
    check_kind("monte_carlo", nn.Module, model=model)
    if where is not None:
        check_kind("monte_carlo", Callable, where=where)
    before = [(module, module.training) for module in model.modules()]
    picked = where or (lambda name, module: False)
    inside = [
        (module, isinstance(module, _DROP) or bool(picked(name, module)))
        for name, module in model.named_modules()
    ]
    if not any(training for _, training in inside):
        other = "" if where is None else " or a module for which where is true"
        raise ValueError(
            f"monte_carlo: model must have a dropout layer{other}, got {type(model).__name__}, in "
            "which nothing would be random"
        )
    try:
        _set_modes(inside)
        yield
    finally:
        _set_modes(before)


def mean_and_std(draw: Callable[[], Tensor], passes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of random tensors, such as the outputs under `monte_carlo`.

    By Welford's algorithm ("Note on a method for calculating corrected sums of squares and
    products", Technometrics 1962): each tensor is added when it is drawn and then released, so that
    memory does not grow with `passes`.

    Args:
        draw: A function without arguments that returns a floating-point tensor, each time of the
            same shape and dtype. It is called without recording gradients.
        passes: How many tensors to draw, 2 or more.

    Returns:
        The mean and the standard deviation of each element, both with the shape and device of the
        tensors. The standard deviation divides by ``passes - 1``. Both are computed and returned in
        float64 for float64 tensors, else in float32: in half precision small deviations would
        vanish. So they do in float32 where they are below a millionth of the mean.

    Raises:
        TypeError: If `draw` is not callable or returns anything but floating-point tensors, or
            `passes` is not an int.
        ValueError: If `passes` is below 2, or tensors differ in shape or dtype.

    Example:
        >>> import torch
        >>> from torchattn_blocks import mean_and_std, monte_carlo, rsan
        >>> model, image = rsan(widths=(4, 8)).eval(), torch.rand(1, 3, 32, 32)
        >>> with monte_carlo(model):
        ...     mean, std = mean_and_std(lambda: model.predict_proba(image), passes=5)
        >>> mean.shape, std.shape
        (torch.Size([1, 1, 32, 32]), torch.Size([1, 1, 32, 32]))
    """
    check_kind("mean_and_std", Callable, draw=draw)
    check_at_least("mean_and_std", 2, passes=passes)
    with torch.no_grad():
        first = _drawn(draw)
        shape, kind = first.shape, first.dtype
        dtype = kind if kind == torch.float64 else torch.float32
        mean = first.to(dtype, copy=True)  # `draw` may return the same memory each time
        squares = torch.zeros_like(mean)  # sum of squared distances from the mean
        del first
        for count in range(2, passes + 1):
            value = _drawn(draw)
            if value.shape != shape or value.dtype != kind:
                raise ValueError(
                    "mean_and_std: draw must return tensors of one shape and dtype, got "
                    f"{tuple(shape)} and {kind}, then {tuple(value.shape)} and {value.dtype}"
                )
            value = value.to(dtype)
            change = value - mean
            mean += change / count
            squares += change * (value - mean)
        return mean, (squares / (passes - 1)).sqrt_()


def _drawn(draw: Callable[[], Tensor]) -> Tensor:
    value = draw()
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"mean_and_std: draw must return a floating-point tensor, got {kind}")
    return value


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training
