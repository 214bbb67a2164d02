"""A module that takes the place of another, and calls it and the layers inserted at it.

It is a part of the module tree like any other. So copies, pickles and replicas contain the layers,
and tools that swap, wrap or inspect modules find the module and each layer by name.
"""

import inspect
from typing import Any, Literal, Self

from torch import Tensor, nn

from .._modules import HOST, StandsForHost
from .._torch import (
    FORWARD_HOOKS,
    OTHER_HOOKS,
    TABLES,
    buffers,
    children,
    forward_hooks,
    hand_on_kind_of_backward_hooks,
    parameters,
)
from ._mark import no_hook
from ._metadata import hand_on_metadata

Side = Literal["before", "after"]

# The names of the children, which are part of state dict keys.
CHILD: dict[Side, str] = {"before": "inserted_before", "after": "inserted_after"}

# Never passed on: a module with `parametrizations` must have the weights, too; timm replaces a
# module that has `fuse` by the result of `fuse`; a `qconfig` of the insertion would hide the
# host's.
_NEVER = frozenset({"parametrizations", "fuse", "qconfig"})


class Inserted(nn.Sequential):
    """The layers before or after a module, in the order in which they run."""


class Insertion(StandsForHost):
    """A module of a network, its host, and the layers that run before and after it.

    It passes on the attributes that the host has now, so that the network's code can still read
    ``conv.weight``, and plain values that the code sets here later. It does not pass on attributes
    that others, such as a wrapping tool, add to the host: tools recognise their own layers by such
    attributes.

    The host's forward hooks move here, to see its output after the layers. All other hooks stay
    with the host.
    """

    def __init__(self, host: nn.Module) -> None:
        super().__init__()
        self.training = host.training
        self.host = host
        for name in FORWARD_HOOKS:  # swap the dictionaries: handles can still remove hooks
            own, theirs = getattr(self, name), getattr(host, name)
            self.__dict__[name], host.__dict__[name] = theirs, own
        for name in vars(host).keys() & set(dir(nn.Module)):
            if not callable(value := vars(host)[name]):  # such as a text called `type`
                self.__dict__[name] = value
        self._insertion_argument = ""  # the host's first, once layers come before it
        self._insertion_hands_on = set(attributes(host) - attributes(self) - _NEVER)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layers before the host on its first argument, the layers after on its output."""
        parts: Any = children(self)
        if (before := parts.get(CHILD["before"])) is not None:
            argument = self._insertion_argument
            if args:
                args = (before(args[0]), *args[1:])
            elif argument in kwargs:
                kwargs = {**kwargs, argument: before(kwargs[argument])}
            else:
                kind = type(parts[HOST]).__name__
                raise TypeError(
                    f"insert_before: {kind} must be called with its first argument, {argument}"
                )
        output = parts[HOST](*args, **kwargs)
        after = parts.get(CHILD["after"])
        return output if after is None else after(output)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in self.__dict__.get("_insertion_hands_on", ()):
                raise
        return getattr(children(self)[HOST], name)

    def __setattr__(self, name: str, value: Any) -> None:
        hands_on = self.__dict__.get("_insertion_hands_on")
        if hands_on is None:  # still in the constructor
            super().__setattr__(name, value)
        elif name in hands_on:
            setattr(children(self)[HOST], name, value)
        elif name.startswith("_") or name in (*_NEVER, *buffers(self)) or _is_added(value):
            super().__setattr__(name, value)
        elif hasattr(type(self), name) or name in self.__dict__:  # such as `training`
            super().__setattr__(name, value)
            setattr(children(self)[HOST], name, value)
        else:
            hands_on.add(name)
            setattr(children(self)[HOST], name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_insertion_hands_on", ()):
            delattr(children(self)[HOST], name)
        else:
            super().__delattr__(name)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts, each by its own method."""
        for child in self.children():
            child.train(mode)
        self.__dict__["training"] = mode
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Route entries of the original network, whose keys lack ``host.``, to the host."""
        own = {*children(self), *parameters(self), *buffers(self), *CHILD.values()}
        for key in [key for key in state_dict if key.startswith(prefix)]:
            tail = key[len(prefix) :]
            if tail.partition(".")[0] not in own:
                state_dict[f"{prefix}{HOST}.{tail}"] = state_dict.pop(key)
        hand_on_metadata(self.host, prefix[:-1], HOST)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _is_added(value: Any) -> bool:
    """Whether tools, not the code of networks, add such values to each module separately."""
    return callable(value) or isinstance(value, nn.Parameter)  # modules and functions are callable


def layers_of(insertion: Insertion, side: Side) -> tuple[nn.Module, ...]:
    """The layers on one side, in the order in which they run.

    A tool may have replaced all of them by one of its own.
    """
    layers = children(insertion).get(CHILD[side])
    if layers is None:
        return ()
    return tuple(layers.children()) if isinstance(layers, Inserted) else (layers,)


def add_layer(insertion: Insertion, side: Side, layer: nn.Module) -> None:
    """Add a layer, to run after the others on this side."""
    parts: Any = children(insertion)
    if CHILD[side] not in parts:
        insertion.add_module(CHILD[side], Inserted().train(insertion.training))
        if side == "before":
            names = inspect.signature(parts[HOST].forward).parameters
            insertion._insertion_argument = next(iter(names), "")
            # Children are kept in the order in which they run.
            for name in [name for name in parts if name != CHILD[side]]:
                parts[name] = parts.pop(name)
    parts[CHILD[side]].append(layer)


def release(insertion: Insertion) -> nn.Module:
    """The host, ready to replace the insertion again, with all hooks of both.

    It also gets the parameters, buffers and modules that others have added to the insertion.
    """
    host = insertion.host
    for kind in TABLES:
        for name, value in getattr(insertion, kind).items():
            if name not in (HOST, *CHILD.values()) and not hasattr(host, name):
                getattr(host, kind)[name] = value
    for name in (*FORWARD_HOOKS, *OTHER_HOOKS):
        own, theirs = getattr(insertion, name), getattr(host, name)
        hooks = {**own, **theirs}  # in the order in which they ran
        # One dictionary stays, for its handles: the host's original one.
        stays = own if name in FORWARD_HOOKS or not theirs else theirs
        stays.clear()
        stays.update(hooks)
        host.__dict__[name] = stays
    hand_on_kind_of_backward_hooks(insertion, host)
    hooks = forward_hooks(host)
    for key in [key for key, hook in hooks.items() if hook is no_hook]:
        del hooks[key]
    return host


def attributes(module: nn.Module) -> frozenset[str]:
    """The names of a module's attributes, including children whose name is a number.

    Names like ``__deepcopy__`` are left out: Python uses them to treat the module as a whole.
    """
    names = (*dir(module), *children(module).keys())
    return frozenset(name for name in names if not (name.startswith("__") and name.endswith("__")))


def original_name(model: nn.Module, name: str) -> str:
    """The name that a module or an entry of a state dict has without any layer inserted."""
    module: Any = model
    parts = []
    for part in name.split(".") if name else ():
        if not (part == HOST and isinstance(module, Insertion)):
            parts.append(part)
        module = children(module).get(part) if isinstance(module, nn.Module) else None
    return ".".join(parts)
