"""Argument validation. Every message names the layer, the argument, its bounds and its value."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

Init = TypeVar("Init", bound=Callable[..., None])


def options_by_name(init: Init) -> Init:
    """Let a constructor that gets wrong arguments name the class that was called and the options.

    Python itself would name the class that the constructor is inherited from.
    """
    signature = inspect.signature(init)
    parameters = list(signature.parameters.values())[1:]  # without self
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    positional = len(parameters) - len(options)

    @functools.wraps(init)
    def checked(self: object, *args: Any, **kwargs: Any) -> None:
        owner = type(self).__name__
        if len(args) > positional:
            named = zip(options, args[positional:], strict=False)
            write = ", ".join(f"{name}={value!r}" for name, value in named)
            raise TypeError(f"{owner}: options must be given by name: write {write}")
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{owner}: {error}") from None
        init(self, *args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def check_map(
    x: object, owner: str, channels: int | None = None, spatial_dims: int = 2, name: str = "x"
) -> None:
    """Raise unless `x` is a floating-point tensor (N, C, *size), with C = `channels` if given.

    An FX proxy passes: it has no shape while a graph is recorded.
    """
    if hasattr(x, "__torch_function__") and not isinstance(x, Tensor):
        return
    x = _check_floating(x, owner, name)
    if x.dim() != spatial_dims + 2:
        expected = f"{spatial_dims + 2} dimensions (N, C, {_size(spatial_dims)})"
        raise ValueError(f"{owner}: {name} must have {expected}, got {tuple(x.shape)}")
    if channels is not None and x.shape[1] != channels:
        got = f"got shape {tuple(x.shape)}"
        raise ValueError(f"{owner}: {name} must have {channels} channels, {got}")


def check_features(x: object, owner: str, axes: int) -> None:
    """Raise unless `x` is a floating-point tensor (N, C, *size) or (C, *size) with `axes` sizes."""
    x = _check_floating(x, owner)
    if x.dim() not in (axes + 1, axes + 2):
        size = _size(axes)
        expected = f"{axes + 2} dimensions (N, C, {size}) or {axes + 1} (C, {size})"
        raise ValueError(f"{owner}: x must have {expected}, got {tuple(x.shape)}")


def _size(axes: int) -> str:
    return ", ".join("DHW"[-axes:] if axes > 1 else "L")


def _check_floating(x: object, owner: str, name: str = "x") -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{owner}: {name} must be a floating-point tensor, got {kind}")
    return x


def check_at_least(owner: str, least: int, **numbers: int) -> None:
    """Raise unless each number is at least `least` and an int, a NumPy or a symbolic int."""
    for name, number in numbers.items():
        if not isinstance(number, int | np.integer | torch.SymInt) or isinstance(number, bool):
            raise TypeError(f"{owner}: {name} must be an int, got {number!r}")
        if number < least:
            raise ValueError(f"{owner}: {name} must be at least {least}, got {number}")


def check_spatial_dims(owner: str, spatial_dims: int) -> None:
    """Raise unless `spatial_dims` is 1, 2 or 3: torch's convolutions have no more."""
    check_at_least(owner, 1, spatial_dims=spatial_dims)
    if spatial_dims > 3:
        raise ValueError(f"{owner}: spatial_dims must be at most 3, got {spatial_dims}")


def check_odd(owner: str, **numbers: int) -> None:
    """Raise unless each number is an odd int, at least 1."""
    check_at_least(owner, 1, **numbers)
    for name, number in numbers.items():
        if number % 2 == 0:
            raise ValueError(f"{owner}: {name} must be odd, got {number}")


def check_choice(owner: str, choices: Iterable[str], **values: str) -> None:
    """Raise unless each value is one of `choices`."""
    for name, value in values.items():
        if value not in tuple(choices):  # compared, not hashed: it may be a list
            raise ValueError(f"{owner}: {name} must be one of {tuple(choices)}, got {value!r}")


def check_kind(owner: str, kind: Any, **values: object) -> None:
    """Raise unless each value is an instance of `kind`."""
    for name, value in values.items():
        if not isinstance(value, kind):
            got = type(value).__name__
            raise TypeError(f"{owner}: {name} must be a {kind.__name__}, got {got}")


def made_by(owner: str, name: str, factory: Any, *args: Any, **offers: Any) -> nn.Module:
    """What a factory returns for the arguments; raise unless that is a module.

    Of the `offers` a factory is given those that it has a parameter for. In a slot for
    `spatial_dims`, the class of a layer may do without the arguments.
    """
    what = {0: "no argument", 1: "a number of channels", 2: "two numbers of channels"}[len(args)]
    if args and isinstance(args[0], nn.Module):
        what = "a module"
    wanted = f"{owner}: {name} must be a function that takes {what} and returns a module"
    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError(f"{wanted}, got {factory!r}")
    given = {key: offers[key] for key in offers.keys() & _open_parameters(factory)}
    is_layer = isinstance(factory, type) and issubclass(factory, nn.Module)
    if not takes(factory, *args, **given):
        if is_layer and "spatial_dims" in offers and takes(factory, **given):
            args = ()  # a layer that needs no number of channels, such as `SpatialAttention`
        else:
            name_of = getattr(factory, "__name__", "")
            uncalled = name_of if args and not is_layer and takes(factory) else ""
            hint = f" (do you mean {uncalled}()?)" if uncalled else ""
            raise TypeError(f"{wanted}, got {factory!r}{hint}")
    try:
        module = factory(*args, **given)
    except Exception as error:
        error.add_note(f"{owner}: raised by the function in {name}, called with {args}")
        raise
    if not isinstance(module, nn.Module):
        raise TypeError(f"{wanted}, got one that returns {type(module).__name__}")
    if "spatial_dims" in offers:
        _check_axes(owner, name, module, offers["spatial_dims"])
    return module


def _check_axes(owner: str, name: str, module: nn.Module, spatial_dims: int) -> None:
    """Raise if a module is for other dimensions, such as `torch.nn.Dropout3d` for 2.

    Dropout and normalisation would take the feature maps all the same, and images for channels.
    """
    parts = [module]
    if isinstance(module, nn.Sequential):
        parts += [m for m in module.modules() if isinstance(m, _DropoutNd | _NormBase)]
    for part in parts:
        for kind in type(part).__mro__:
            numbered = re.search("([123])d$", kind.__name__)
            known = kind.__module__.partition(".")[0] in ("torch", __package__)
            if known and numbered and int(numbered[1]) != spatial_dims:
                expected = f"for {spatial_dims} spatial dimensions, got {kind.__name__}"
                raise ValueError(f"{owner}: {name} must be {expected}")


def _open_parameters(factory: Callable[..., object]) -> set[str]:
    """Names of the parameters that can be given by name. None are known of some built-ins."""
    try:
        parameters = inspect.signature(factory, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return set()
    bound = factory.keywords if isinstance(factory, functools.partial) else ()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in by_name and p.name not in bound}


def takes(factory: Callable[..., object], *args: Any, **kwargs: Any) -> bool:
    """Whether it can be called so, as far as its signature is known."""
    try:
        inspect.signature(factory, follow_wrapped=False).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True


def plain_int(number: Any) -> Any:
    """A NumPy integer as an int, for graphs and files. Other ints, also symbolic, stay as is."""
    return number.item() if isinstance(number, np.integer) else number


def check_rate(p: Any, owner: str, name: str = "p") -> float:
    """A drop probability as a float; errors name `owner` and call it `name`."""
    if isinstance(p, Tensor):
        check_rate_tensor(p, owner, name)
        p = float(p)
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)):
        kind = "a number or a 0-d floating-point tensor"
        raise TypeError(f"{owner}: {name} must be {kind}, got {p!r}")
    if not 0 <= p <= 1:  # false for NaN too
        raise ValueError(f"{owner}: {name} must lie in [0, 1], got {p}")
    return float(p)


def check_rate_tensor(p: Tensor, owner: str, name: str = "p") -> None:
    """Raise unless `p` is a 0-d floating-point tensor without gradient. Its value is not read."""
    if p.dim() != 0 or not p.is_floating_point():
        kind = f"shape {tuple(p.shape)} and dtype {p.dtype}"
        raise TypeError(
            f"{owner}: {name} must be a number or a 0-d floating-point tensor, got {kind}"
        )
    if p.requires_grad:
        raise ValueError(
            f"{owner}: {name} must not require a gradient: DropBlock computes none for it"
        )
