"""What a state dict says of modules beside their entries: the versions of their classes."""

import sys

from torch import nn


def hand_on_metadata(name: str, child: str) -> None:
    """Let what a state dict says of a module, and of those in it, be said of a child of the module.

    The module calls this in its `_load_from_state_dict`. Torch tells it what is said of that module
    alone; all of it is a variable of torch's function that calls the module.

    Args:
        name: The name of the module in the state dict.
        child: The name of its child. If anything is said of that, nothing is handed on.
    """
    load = sys._getframe(2)
    metadata = load.f_locals.get("metadata")
    if load.f_code.co_filename != nn.modules.module.__file__ or not isinstance(metadata, dict):
        return
    place = f"{name}.{child}".lstrip(".")
    if place in metadata:
        return
    for key in list(metadata):
        if key == name or not name or key.startswith(f"{name}."):
            metadata[f"{place}.{key[len(name) :].lstrip('.')}".rstrip(".")] = metadata[key]
