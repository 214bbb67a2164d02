"""Monte-Carlo dropout: random layers that stay random in evaluation.

Gal & Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep
learning", ICML 2016.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .._check import check_ints, check_kind
from .._kinds import is_random
from .._modules import Where, members, picked, unwrapped
from .._restored import in_evaluation
from .._torch import BatchOrInstanceNorm
from ._with import for_with


@for_with
def monte_carlo(model: nn.Module, *, where: Where | None = None) -> Iterator[None]:
    """Keep the random layers of a model random, with all others in evaluation mode.

    From Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016: the outputs of several
    forward passes with dropout are samples, and their spread shows where the model is uncertain.
    Inside the block every module that drops is in training mode, without its children: dropout
    layers of torch, of this library and of others (as `report` finds them), and
    `torch.nn.MultiheadAttention`, recurrent layers and `torch.nn.TransformerEncoderLayer`. All
    other modules are in evaluation mode, so batch normalisation uses its running statistics and
    does not change them. After the block, also after an error, each module returns to its own mode.

    Args:
        model: A module with dropout layers. It may be wrapped, for example by `torch.compile` and
            `torch.nn.parallel.DistributedDataParallel`.
        where: Which modules to put into training mode instead of the default ones above, each
            without its children: a type, a name pattern, a function of name and module, or a list
            of these, as in `insert_after`. None in a list stands for the default ones:
            ``[None, nn.RReLU]`` adds a layer that is random only in training mode. Modules that
            call `torch.nn.functional.dropout` with their own mode are also random only in training
            mode.

    Returns:
        A context manager. Blocks can be nested; the inner one decides.

    Raises:
        TypeError: If `model` is not a module or `where` of another kind, or if you call the
            returned object: call the model in the block.
        ValueError: If `model` has no dropout layer or `where` picks no module: nothing would be
            random. If `where` picks a normalisation with running statistics: the passes would
            change them.

    Note:
        Gradients are recorded as usual: add `torch.no_grad` for inference. A layer with ``p=0`` is
        accepted, because its rate may be set inside the block, but it drops nothing.

        This sets modes directly and does not call `train`. So modules that override it, such as
        frozen batch normalisation, stay as they are. Modules that you add inside the block keep
        their mode.

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
    random = None if where is None else _picked(model, where)  # `where` may look at the modes
    with in_evaluation(model) as modules:
        for module in _usual(model, modules) if random is None else random:
            module.training = True
        yield


def _usual(model: nn.Module, modules: list[nn.Module]) -> list[nn.Module]:
    """The modules to put into training mode without `where`."""
    random = [module for module in modules if is_random(module)]
    if not random:
        raise ValueError(
            f"monte_carlo: model must have a dropout layer, got {type(model).__name__}, in which "
            "nothing would be random"
        )
    return random


def _picked(model: nn.Module, where: Where) -> list[nn.Module]:
    """The modules that `where` picks."""
    model = unwrapped(model)
    among = [*members(model, inserted=True).values()]
    found = picked("monte_carlo", model, among, where, is_random)
    for module, names, *_ in found:
        if isinstance(module, BatchOrInstanceNorm) and module.running_mean is not None:
            raise ValueError(
                "monte_carlo: where must pick no normalisation with running statistics, which the "
                f"passes would change, got {names[0]} ({type(module).__name__}): pick what is "
                "random alone, as by a type"
            )
    return [member.module for member in found]


def mean_and_std(draw: Callable[[], Tensor], passes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of random tensors, such as the outputs under `monte_carlo`.

    Uses Welford's algorithm ("Note on a method for calculating corrected sums of squares and
    products", Technometrics 1962): each tensor is added when it is drawn and then released, so
    memory does not grow with `passes`.

    Args:
        draw: A function without arguments that returns a floating-point tensor, always of the same
            shape and dtype. It is called without recording gradients.
        passes: How many tensors to draw, 2 or more.

    Returns:
        The mean and the standard deviation of each element, both with the shape and device of the
        tensors. The standard deviation divides by ``passes - 1``. Both are computed and returned in
        float64 for float64 tensors, otherwise in float32: in half precision small deviations would
        vanish. In float32, deviations below a millionth of the mean vanish.

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
    check_ints("mean_and_std", 2, passes=passes)
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
