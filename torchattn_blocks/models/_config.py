"""Convert networks to plain data, a preset's name and its arguments, and back."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from .. import layers
from .._check import check_kind, plain
from .._torch import BatchNorm
from ..layers._dropping import Dropping

PRESET = "preset"  # the key of the preset's name


class Preset(NamedTuple):
    """The signature of a preset, and a function that turns its arguments into those of `UNet`."""

    signature: inspect.Signature
    arguments: Callable[..., dict[str, Any]]


PRESETS: dict[str, Preset] = {}  # by name; `preset` in `_preset.py` fills it


@dataclass(frozen=True)
class Recipe:
    """How a preset was called.

    Attributes:
        config: The name of the preset and its arguments as plain data.
        unsaid: Arguments that plain data cannot hold, with their values in words.
    """

    config: dict[str, Any]
    unsaid: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any]) -> "Recipe":
        """The recipe of a preset that was called with these arguments."""
        config: dict[str, Any] = {PRESET: name}
        unsaid = {}
        for key, value in arguments.items():
            try:
                config[key] = _encoded(value)
            except TypeError:
                unsaid[key] = repr(value)
        return cls(config, unsaid)


def read_config(config: Any) -> tuple[dict[str, Any], Recipe]:
    """The arguments of `UNet` for a config, and its recipe."""
    owner = "from_config"
    check_kind(owner, Mapping, config=config)
    options = dict(config)
    name = options.pop(PRESET, None)
    if not isinstance(name, str) or name not in PRESETS:
        known = ", ".join(map(repr, PRESETS))
        raise ValueError(f"{owner}: config[{PRESET!r}] must be one of {known}, got {name!r}")
    signature, arguments = PRESETS[name]
    if unknown := [key for key in options if key not in signature.parameters]:
        known = ", ".join(signature.parameters)
        raise ValueError(f"{owner}: {name} takes {known}, got {', '.join(map(repr, unknown))}")
    if isinstance(options.get("attention"), str):
        options["attention"] = _layer(options["attention"])
    bound = signature.bind(**options)
    bound.apply_defaults()
    return arguments(**bound.arguments), Recipe.of(name, bound.arguments)


def changes(model: nn.Module, built: nn.Module) -> list[str]:
    """The names of modules and of tensors that differ between two networks.

    Modules differ in type or options, tensors in shape.
    """
    ours, theirs = (
        {name: _described(module) for name, module in one.named_modules() if name}
        | {key: value.shape for key, value in one.state_dict().items()}
        for one in (model, built)
    )
    names = {**theirs, **ours}
    return [name for name in names if ours.get(name) != theirs.get(name)]


def _described(module: nn.Module) -> tuple[type, str]:
    """The type and the options of a module.

    Synchronised batch normalisation counts as batch normalisation. If a schedule changes a rate,
    the layer's own rate counts.
    """
    options = str(module.extra_repr())
    if isinstance(module, BatchNorm):
        return BatchNorm, options
    if isinstance(module, Dropping):
        options = options.replace(f"p={module.p:g}", f"p={module.own_p:g}", 1)
    return type(module), options


def _encoded(value: Any) -> Any:
    """An argument as plain data. Raise `TypeError` if plain data cannot hold it."""
    value = plain(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for name, layer in _PUBLIC.items():
        if value is layer:
            return name
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return [_encoded(one) for one in value]
    raise TypeError(value)


def _layer(name: str) -> type[nn.Module]:
    if not hasattr(_PUBLIC.get(name), "attention_map"):
        raise ValueError(
            "from_config: config['attention'] must name an attention layer of torchattn_blocks, "
            f"got {name!r}"
        )
    return _PUBLIC[name]


_PUBLIC: dict[str, type[nn.Module]] = {
    name: value
    for name in dir(layers)
    if isinstance(value := getattr(layers, name), type) and issubclass(value, nn.Module)
}
