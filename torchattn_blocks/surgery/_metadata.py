"""A state dict's metadata about modules: the versions of their classes."""

from torch import nn

from .._torch import metadata_being_loaded


def hand_on_metadata(module: nn.Module, name: str, child: str) -> None:
    """Apply a state dict's metadata to a module that now has a longer name.

    The module in its place calls this in `_load_from_state_dict`. Torch gives that module only the
    metadata of its own name.

    Args:
        module: The module.
        name: Its name in the state dict.
        child: Its name inside the module that now has that name. If the longer name has metadata,
            nothing changes.
    """
    metadata = metadata_being_loaded(2)
    place = f"{name}.{child}".lstrip(".")
    if metadata is not None and place not in metadata:
        for inner, _ in module.named_modules(remove_duplicate=False):
            if (said := metadata.get(f"{name}.{inner}".strip("."))) is not None:
                metadata[f"{place}.{inner}".rstrip(".")] = said
