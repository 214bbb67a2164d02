"""How state dicts of the original network load, and the warning if some layers are missing."""

import warnings
from collections import OrderedDict
from contextvars import ContextVar, copy_context
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .._torch import ASSIGN, IncompatibleKeys, load_hooks, set_metadata
from ._insertion import original_name
from ._mark import replaced


def keep_weights(layer: nn.Module) -> RemovableHandle:
    """Let a new layer keep its weights when a state dict of the original network is loaded."""
    return layer.register_load_state_dict_pre_hook(load_original)  # type: ignore[no-untyped-call]


def load_original(
    layer: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    *rest: Any,
) -> None:
    """Let a new layer keep its weights when the state dict comes from the original network.

    This is a hook of the layer, called before its entries are loaded. The entries of a replaced
    module go to that module, unless they fit the new layer in keys and shapes.
    """
    given = {key[len(prefix) :]: key for key in state_dict if key.startswith(prefix)}
    module = replaced(layer)
    if module is None:
        if given:
            _note(missing_keys, layer, prefix, loaded=True)
            return
    elif _are_of_original(given, state_dict, layer, module):
        entries = OrderedDict((name, _whole(state_dict.pop(key))) for name, key in given.items())
        set_metadata(entries, {"": local_metadata})
        assign = local_metadata.get(ASSIGN, False)
        load = copy_context().run  # do not mix notes of this load with another's
        found = load(module.load_state_dict, entries, strict=False, assign=assign)
        missing_keys += [prefix + name for name in found.missing_keys]
    else:  # torch loads what fits the layer, and reports the rest
        own = layer.state_dict(keep_vars=True)
        if given and given.keys() <= own.keys() and given.keys() != _original_keys(module):
            _note(missing_keys, layer, prefix, loaded=True)
        return
    kept = {
        key: value
        for key, value in layer.state_dict(prefix=prefix, keep_vars=True).items()
        if not getattr(value, "is_meta", False)
    }
    state_dict.update(kept)  # not weights on meta: torch reports these
    if kept:
        _note(missing_keys, layer, prefix, loaded=False)


def _are_of_original(
    given: dict[str, str], state_dict: dict[str, Tensor], layer: nn.Module, module: nn.Module
) -> bool:
    """Whether entries (keys by name) belong to a replaced module and do not fit its new layer."""
    own, original = layer.state_dict(keep_vars=True), _original_keys(module)
    fits = given.keys() == own.keys() and all(
        _shape(own[name]) == _shape(state_dict[key]) for name, key in given.items()
    )
    return not fits and (
        given.keys() == original or (given.keys() <= original and not given.keys() <= own.keys())
    )


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)  # a module's extra state may be anything


def _whole(entry: Any) -> Any:
    """An entry as a plain tensor: a module outside the network is not sharded with it."""
    return entry.full_tensor() if hasattr(entry, "full_tensor") else entry


def _original_keys(module: nn.Module) -> set[str]:
    """The keys that a replaced module had before changes to modules in it, and has now."""
    keys = {original_name(module, key) for key in module.state_dict()}
    for name, part in module.named_modules():
        if (original := replaced(part)) is not None:
            place = original_name(module, name)
            keys |= {f"{place}.{key}" for key in _original_keys(original)}
    return keys


# The load in this thread: its list of missing keys, which identifies it; and for each new layer
# with weights, by its key prefix, its class and whether its weights were loaded.
_Load = tuple[list[str], dict[str, tuple[str, bool]]]
_load: ContextVar[_Load | None] = ContextVar("load", default=None)


def _note(missing_keys: list[str], layer: nn.Module, prefix: str, *, loaded: bool) -> None:
    """Note whether the weights of a layer are loaded."""
    load = _load.get()
    if load is None or load[0] is not missing_keys:
        load = missing_keys, {}
        _load.set(load)
    parts = prefix.split(".")[:-1]
    around = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    if not any(load[1].get(start, ("", True))[1] is False for start in around):
        load[1][prefix] = type(layer).__name__, loaded  # if not, an outer layer kept it, too


def warn_of_a_part(model: nn.Module) -> None:
    """Let a network warn if a state dict has the weights of some new layers, but not of all."""
    forget_to_warn(model)
    model.register_load_state_dict_post_hook(_warn)  # type: ignore[no-untyped-call]


def forget_to_warn(model: nn.Module) -> None:
    """Undo `warn_of_a_part` of a network and all networks in it."""
    for module in model.modules():
        hooks = load_hooks(module)
        for key in [key for key, hook in hooks.items() if hook is _warn]:
            del hooks[key]


def _warn(model: nn.Module, incompatible_keys: IncompatibleKeys) -> None:
    load = _load.get()
    if load is None or load[0] is not incompatible_keys.missing_keys:
        return
    kept = {start: kind for start, (kind, loaded) in load[1].items() if not loaded}
    if kept and len(kept) < len(load[1]):
        for start in kept:  # warn once, even if an outer network warns, too
            del load[1][start]
        names = ", ".join(f"{start[:-1]} ({kind})" for start, kind in kept.items())
        warnings.warn(
            f"load_state_dict: {type(model).__name__} was given weights of some of the layers that "
            f"were put into it, but none of {names}: these kept the weights that they had",
            stacklevel=2,
        )
