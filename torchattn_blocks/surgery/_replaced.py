"""What a layer remembers of the module in whose place it is, and how state dicts of both load."""

from typing import Any, NamedTuple

from torch import Tensor, nn


class Replaced(NamedTuple):
    """The module in whose place a layer is. In a tuple it is no child of the layer."""

    module: nn.Module


def replaced(layer: nn.Module) -> nn.Module | None:
    """The module in whose place a layer is, if it is in any."""
    found = layer.__dict__.get("replaced")
    return found.module if isinstance(found, Replaced) else None


def put_in_place(layer: nn.Module, module: nn.Module) -> None:
    """Let a layer remember that it is in the place of a module, or of what that replaced."""
    setattr(layer, "replaced", Replaced(replaced(module) or module))  # noqa: B010 (for mypy)


def load_original(
    layer: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    *rest: Any,
) -> None:
    """Let a new layer keep its weights when the state dict is that of the original network.

    It is a hook of the layer, called before its entries are loaded. Entries of the module that it
    replaced go to that module.
    """
    given = {key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)}
    module = replaced(layer)
    original = _original_keys(module) if module is not None else set()
    if given and (given <= layer.state_dict().keys() or not given <= original):
        return  # the layer's own entries, or neither's
    if not given and original:
        return  # a gap, which torch reports
    if module is not None:
        entries = {key: state_dict.pop(prefix + key) for key in given}
        assign = local_metadata.get("assign_to_params_buffers", False)
        module.load_state_dict(entries, strict, assign)
    own = layer.state_dict(prefix=prefix, keep_vars=True)
    # A layer without memory has no weights to keep: torch reports their keys as missing.
    state_dict.update({k: v for k, v in own.items() if not getattr(v, "is_meta", False)})


def _original_keys(module: nn.Module) -> set[str]:
    """The keys of a replaced module, and those that it had before modules in it were replaced."""
    keys = set(module.state_dict())
    for name, part in module.named_modules():
        if (original := replaced(part)) is not None:
            keys |= {f"{name}.{key}" for key in _original_keys(original)}
    return keys
