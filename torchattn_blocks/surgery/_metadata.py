"""What a state dict says of modules beside their entries: the versions of their classes."""

from torch import nn

from .._torch import metadata_being_loaded


def hand_on_metadata(module: nn.Module, name: str, child: str) -> None:
    """Let what a state dict says of names be said of a module that has got a longer name.

    What stands in the module's place calls this in its `_load_from_state_dict`. Torch tells it what
    is said of its own name alone.

    Args:
        module: The module.
        name: Its name in the state dict.
        child: Its name within what has that name now. If anything is said of that, nothing is
            handed on.
    """
    metadata = metadata_being_loaded(2)
    place = f"{name}.{child}".lstrip(".")
    if metadata is not None and place not in metadata:
        for inner, _ in module.named_modules(remove_duplicate=False):
            if (said := metadata.get(f"{name}.{inner}".strip("."))) is not None:
                metadata[f"{place}.{inner}".rstrip(".")] = said
