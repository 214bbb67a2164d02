"""What a layer that was put into a network remembers, and how state dicts of the original load."""

from collections import OrderedDict
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_NAME = "_surgery_mark"  # of the attribute; nobody else's


class Mark(NamedTuple):
    """The module in whose place a layer is, if it is in any, and the hooks that it got.

    In a tuple the module is no child of the layer.
    """

    replaced: nn.Module | None
    hooks: tuple[RemovableHandle, ...]


def mark(layer: nn.Module, module: nn.Module | None = None, *, hooked: bool = False) -> None:
    """Mark a layer as put into a network, in the place of a module or of what that replaced.

    With `hooked` it gets a hook that does nothing, for parents that look for one.
    """
    hooks = [layer.register_load_state_dict_pre_hook(load_original)]  # type: ignore[no-untyped-call]
    if hooked:
        hooks.append(layer.register_forward_hook(no_hook))
    original = module if module is None else replaced(module) or module
    setattr(layer, _NAME, Mark(original, tuple(hooks)))


def unmark(layer: nn.Module) -> None:
    """Make a layer forget that it was put into a network."""
    if (found := _mark_of(layer)) is not None:
        for hook in found.hooks:
            hook.remove()
        delattr(layer, _NAME)


def replaced(layer: nn.Module) -> nn.Module | None:
    """The module in whose place a layer is, if it is in any."""
    found = _mark_of(layer)
    return None if found is None else found.replaced


def _mark_of(layer: nn.Module) -> Mark | None:
    found = layer.__dict__.get(_NAME)
    return found if isinstance(found, Mark) else None


def no_hook(module: Any, args: Any, output: Any) -> None:
    """Do nothing."""


def load_original(
    layer: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    *rest: Any,
) -> None:
    """Let a new layer keep its weights when the state dict is that of the original network.

    It is a hook of the layer, called before its entries are loaded. The entries of a replaced
    module go to that module, unless they fit the new layer, in keys and shapes.
    """
    given = {key[len(prefix) :]: key for key in state_dict if key.startswith(prefix)}
    module = replaced(layer)
    if module is None:
        if given:
            return
    elif _are_of_original(given, state_dict, layer, module):
        entries = OrderedDict((name, _whole(state_dict.pop(key))) for name, key in given.items())
        setattr(entries, "_metadata", {"": local_metadata})  # noqa: B010 (for mypy)
        assign = local_metadata.get("assign_to_params_buffers", False)
        found = module.load_state_dict(entries, strict=False, assign=assign)
        missing_keys += [prefix + name for name in found.missing_keys]
    else:
        return  # torch loads what fits the layer, and reports the rest
    for key, value in layer.state_dict(prefix=prefix, keep_vars=True).items():
        if not getattr(value, "is_meta", False):  # else it has no weights to keep: torch reports it
            state_dict[key] = value


def _are_of_original(
    given: dict[str, str], state_dict: dict[str, Tensor], layer: nn.Module, module: nn.Module
) -> bool:
    """Whether entries, by name and by key, belong to a replaced module and do not fit its layer."""
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
    """An entry as a plain tensor: a module that is not in the network is not sharded with it."""
    return entry.full_tensor() if hasattr(entry, "full_tensor") else entry


def _original_keys(module: nn.Module) -> set[str]:
    """The keys of a replaced module, and those that it had before modules in it were replaced."""
    keys = set(module.state_dict())
    for name, part in module.named_modules():
        if (original := replaced(part)) is not None:
            keys |= {f"{name}.{key}" for key in _original_keys(original)}
    return keys
