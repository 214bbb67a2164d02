"""The decorator that makes a function a preset."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from ._config import PRESETS, Preset, Recipe
from .unet_factory import UNet

P = ParamSpec("P")
Options = dict[str, Any]


def preset(slots: Callable[P, Options]) -> Callable[P, UNet]:
    """Turn a function that returns the slots of a `UNet` into one that returns the network.

    Arguments that `UNet` has too are passed on to it. All arguments are recorded for `UNet.config`.
    """
    signature = inspect.signature(slots)
    own = inspect.signature(UNet).parameters

    def arguments(**options: Any) -> dict[str, Any]:
        shared = {name: options[name] for name in own if name in options}
        return shared | slots(**options)  # type: ignore[call-arg]

    @functools.wraps(slots)
    def build(*args: P.args, **kwargs: P.kwargs) -> UNet:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{slots.__name__}: {error}") from None
        bound.apply_defaults()
        model = UNet(**arguments(**bound.arguments))
        model._recipe = Recipe.of(slots.__name__, bound.arguments)
        return model

    PRESETS[slots.__name__] = Preset(signature, arguments)
    build.__signature__ = signature.replace(return_annotation=UNet)  # type: ignore[attr-defined]
    build.__annotations__ = {**slots.__annotations__, "return": UNet}
    return build
