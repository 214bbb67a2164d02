"""The module that stands in the place of another one, and calls it and the layers at it.

It is a part of the module tree like any other. Thus copies, pickles and replicas carry the layers
with them, and tools that swap, wrap or look into modules find the module and each layer by name.
"""

import inspect
from typing import Any, Literal

from torch import Tensor, nn

from ._mark import no_hook
from ._metadata import hand_on_metadata

Side = Literal["before", "after"]

# The names of the children: a part of the keys of state dicts.
HOST = "host"
CHILD: dict[Side, str] = {"before": "inserted_before", "after": "inserted_after"}

_FORWARD_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
_OTHER_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class Inserted(nn.Sequential):
    """The layers before or after a module, in the order in which they run."""


class Insertion(nn.Module):
    """A module of a network, its host, and the layers that run before and after it.

    It hands on the attributes that the host has now, so that the network's code still reads
    ``conv.weight``. What the host gets later, as from a tool that wraps it, is not handed on: tools
    tell their own layers by such attributes.

    The host's forward hooks come here, to see what the layers make of its output. All other hooks
    stay with the host.
    """

    def __init__(self, host: nn.Module) -> None:
        super().__init__()
        self.training = host.training
        self.host = host
        for name in _FORWARD_HOOKS:  # the same dictionaries, so that their handles still remove
            own, theirs = getattr(self, name), getattr(host, name)
            self.__dict__[name], host.__dict__[name] = theirs, own
        self._argument = ""  # the name of the host's first one, once there are layers before it
        self._handed_on = attributes(host) - attributes(self)

    def layers(self, side: Side) -> tuple[nn.Module, ...]:
        """The layers on one side, in the order in which they run.

        A tool may have put one of its own in the place of all of them.
        """
        layers = self._modules.get(CHILD[side])
        if layers is None:
            return ()
        return tuple(layers.children()) if isinstance(layers, Inserted) else (layers,)

    def add_layer(self, side: Side, layer: nn.Module) -> None:
        """Add a layer, to run after those that are on this side."""
        layers: Any = self._modules.get(CHILD[side])
        if layers is None:
            layers = Inserted().train(self.training)
            self.add_module(CHILD[side], layers)
            if side == "before":
                self._argument = next(iter(inspect.signature(self.host.forward).parameters), "")
                # Children stand in the order in which they run.
                for name in [name for name in self._modules if name != CHILD[side]]:
                    self._modules[name] = self._modules.pop(name)
        layers.append(layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layers before the host on its first argument, and those after on its output."""
        parts: Any = self._modules
        if (before := parts.get(CHILD["before"])) is not None:
            if args:
                args = (before(args[0]), *args[1:])
            elif self._argument in kwargs:
                kwargs = {**kwargs, self._argument: before(kwargs[self._argument])}
            else:
                kind = type(parts[HOST]).__name__
                raise TypeError(
                    f"insert_before: {kind} must be called with its first argument, "
                    f"{self._argument}"
                )
        output = parts[HOST](*args, **kwargs)
        after = parts.get(CHILD["after"])
        return output if after is None else after(output)

    def release(self) -> nn.Module:
        """The host, to stand in this place again, with all hooks."""
        host = self.host
        for name in (*_FORWARD_HOOKS, *_OTHER_HOOKS):
            own, theirs = getattr(self, name), getattr(host, name)
            hooks = {**own, **theirs}  # in the order in which they ran
            # One dictionary stays, for its handles: the one that was the host's.
            stays = own if name in _FORWARD_HOOKS or not theirs else theirs
            stays.clear()
            stays.update(hooks)
            host.__dict__[name] = stays
        for key in [key for key, hook in host._forward_hooks.items() if hook is no_hook]:
            del host._forward_hooks[key]
        return host

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in self.__dict__.get("_handed_on", ()):
                raise
        return getattr(self.host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_handed_on", ()):
            setattr(self.host, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_handed_on", ()):
            delattr(self.host, name)
        else:
            super().__delattr__(name)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Let entries of the original network, which have no ``host.`` in their keys, find it."""
        own = {*self._modules, *self._parameters, *self._buffers, *CHILD.values()}
        for key in [key for key in state_dict if key.startswith(prefix)]:
            tail = key[len(prefix) :]
            if tail.partition(".")[0] not in own:
                state_dict[f"{prefix}{HOST}.{tail}"] = state_dict.pop(key)
        hand_on_metadata(prefix[:-1], HOST)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def attributes(module: nn.Module) -> frozenset[str]:
    """The names of all attributes of a module, also of children whose name is a number."""
    return frozenset((*dir(module), *module._modules.keys()))


def original_name(model: nn.Module, name: str) -> str:
    """The name that a module of a network has without any layer inserted."""
    module: Any = model
    parts = []
    for part in name.split(".") if name else ():
        if not (part == HOST and isinstance(module, Insertion)):
            parts.append(part)
        module = module._modules[part]
    return ".".join(parts)
