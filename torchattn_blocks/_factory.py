"""Call users' functions for a slot, and check whether a function accepts arguments."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from ._kinds import is_attention
from ._torch import BatchOrInstanceNorm, Dropout


def made_by(owner: str, name: str, factory: Any, *args: Any, **offers: Any) -> nn.Module:
    """The module that a factory returns for the arguments; raise unless it is a module.

    A factory gets only the `offers` that it has parameters for. In a slot with `spatial_dims`, the
    class of a layer may omit the arguments.
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

    Dropout and normalisation would accept the feature maps anyway and mistake images for channels.
    """
    parts = [module]
    if isinstance(module, nn.Sequential):
        parts += [m for m in _within(module) if isinstance(m, (Dropout, BatchOrInstanceNorm))]
    for part in parts:
        for kind in type(part).__mro__:
            numbered = re.search("([123])d$", kind.__name__)
            known = kind.__module__.partition(".")[0] in ("torch", __package__)
            if known and numbered and int(numbered[1]) != spatial_dims:
                expected = f"for {spatial_dims} spatial dimensions, got {kind.__name__}"
                raise ValueError(f"{owner}: {name} must be {expected}")


def _within(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in a module, except in attention layers, which also look along axes."""
    for child in module.children():
        yield child
        if not is_attention(child):
            yield from _within(child)


def _open_parameters(factory: Callable[..., object]) -> set[str]:
    """Names of the parameters that can be passed by name. Some built-ins have no known ones."""
    try:
        parameters = inspect.signature(factory, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return set()
    bound = factory.keywords if isinstance(factory, functools.partial) else ()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in by_name and p.name not in bound}


def takes(factory: Callable[..., object], *args: Any, **kwargs: Any) -> bool:
    """Whether `factory` accepts these arguments, as far as its signature is known."""
    try:
        inspect.signature(factory, follow_wrapped=False).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True
