"""Insert layers into any network, or replace its layers, without a change to its code or its keys.

An inserted layer is a child of the module beside which it runs, and a hook of that module calls it.
The hooks are functions of this file and find the layer by its name in the module that they get.
Thus copies, pickles and replicas of a network carry their layers with them.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from .._check import check_kind, made_by
from ._where import Inserted, Target, Where, all_targets, find, host

Factory = Callable[[Any], nn.Module]


def insert_after(
    model: nn.Module, where: Where, factory: Factory, *, inplace: bool = False
) -> nn.Module:
    """Insert a layer after each module that `where` picks, so that it computes the module's output.

    Args:
        model: Any network, also a pretrained one. `torch.compile` comes after this function.
        where: Which modules to insert a layer at. A type: its instances. A string: the names of
            ``model.named_modules()`` that match it, where ``*`` stands for any characters but a
            dot, ``**`` for any number of parts between dots, and ``?`` and ``[a-z]`` for one
            character. A function ``where(name, module)``: the modules for which it is true.
            Layers that were inserted before are not picked, nor are modules in them.
        factory: A function that takes the picked module and returns a new layer for it. The layer
            gets the device, the floating-point dtype and the mode of the module, and takes its
            output. `in_channels` and `out_channels` tell the channels.
        inplace: Whether to change `model` itself. By default a copy is changed.

    Returns:
        The network with the layers: a copy of `model`, or itself with ``inplace=True``.

    Raises:
        TypeError: If an argument is not of the kind above, or `factory` returns no module.
        ValueError: If `where` picks nothing, or a module that is not called or whose children it
            runs through in its own way, `factory` returns a module that is in use, or the model
            is compiled. The model is then as it was.

    Note:
        **Containers.** A layer after a `torch.nn.Sequential` is kept by its last module, one
        before it by its first. A module that is used several times has one layer, which runs
        each time. Layers inserted at one module run in the order of insertion.

        **State dicts.** All keys of the network stay. A layer has keys such as
        ``"conv1.inserted_after.0.weight"``, which `changes` lists. A state dict without any
        key of a layer, such as that of the original network, loads as before, also with
        ``strict=True``, and the layer keeps its weights.

        **Calls.** A layer runs when its module is called. It does not where code reads the
        module's parameters instead, or calls its method `forward`: `report` shows which layers ran.

        **FX.** ``torch.fx`` takes a module of torch with a layer for one node and runs the layer
        in it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from torchattn_blocks import DropBlock2d, changes, insert_after
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> changed = insert_after(net, nn.BatchNorm2d, lambda norm: DropBlock2d(0.1, 5))
        >>> for change in changes(changed):
        ...     print(change)
        DropBlock2d after 1
        >>> changed.load_state_dict(net.state_dict())
        <All keys matched successfully>
    """
    return _insert("insert_after", model, where, factory, "after", inplace)


def insert_before(
    model: nn.Module, where: Where, factory: Factory, *, inplace: bool = False
) -> nn.Module:
    """Insert a layer before each module that `where` picks, so that it computes its first argument.

    The arguments are those of `insert_after`, and so is all else.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from torchattn_blocks import SqueezeExcite, in_channels, insert_before
        >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 1))
        >>> changed = insert_before(net, "2", lambda conv: SqueezeExcite(in_channels(conv)))
        >>> changed(torch.rand(1, 3, 9, 9)).shape
        torch.Size([1, 8, 7, 7])
    """
    return _insert("insert_before", model, where, factory, "before", inplace)


def replace(
    model: nn.Module, where: Where, factory: Factory, *, inplace: bool = False
) -> nn.Module:
    """Replace each module that `where` picks.

    The arguments are those of `insert_after`, and so is all else. The new layer takes the name of
    the module, in all places where that is used. State dicts of the original network still load:
    the entries of a replaced module go to that module, which is kept for `undo`, but not moved
    between devices.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import DropBlock2d, replace
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.2), nn.Conv2d(8, 8, 3))
        >>> replace(net, nn.Dropout2d, lambda dropout: DropBlock2d(dropout.p, block_size=5))[1].p
        0.2
    """
    model = _opened("replace", model, inplace)
    targets = find("replace", model, where)
    for names, module in targets:
        if "" in names:
            raise ValueError("replace: where must pick modules in the model, got the model itself")
        if any(isinstance(part, Inserted) for part in module.modules()):
            raise ValueError(
                f"replace: where picks {names[0]}, in which layers are inserted: call undo first, "
                "or replace first and insert then"
            )
    layers = _made("replace", model, targets, factory)
    # All places before the first change: one module may lie in another.
    places = [[_place(model, name) for name in names] for names, _ in targets]
    for (_, module), layer, of_module in zip(targets, layers, places, strict=True):
        setattr(layer, "replaced", _replaced(module) or Replaced(module))  # noqa: B010 (for mypy)
        for parent, attribute in of_module:
            setattr(parent, attribute, layer)
    return model


@dataclass(frozen=True)
class Change:
    """A layer that was put into a network.

    Attributes:
        layer: The name of the layer's class.
        how: ``"after"``, ``"before"`` or ``"instead of"``.
        target: The name of the module that it runs after or before, or that it replaces.
        name: The name of the layer, in ``model.named_modules()``.
        keys: The layer's keys in the state dict.
    """

    layer: str
    how: Literal["after", "before", "instead of"]
    target: str
    name: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer} {self.how} {self.target or 'the model'}"


def changes(model: nn.Module) -> list[Change]:
    """List what `insert_after`, `insert_before` and `replace` put into a network.

    It is read off the network itself, so that copies and loaded pickles have their list, too.

    Args:
        model: A network.

    Returns:
        The changes, in the order of ``model.named_modules()``.

    Raises:
        TypeError: If `model` is not a module.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import EfficientChannelAttention, changes, insert_after
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> attention = lambda conv: EfficientChannelAttention(conv.out_channels)
        >>> [change] = changes(insert_after(net, nn.Conv2d, attention))
        >>> change.keys
        ('0.inserted_after.0.conv.weight',)
    """
    check_kind("changes", nn.Module, model=model)
    found = []
    for name, module in model.named_modules():
        for how, child in _CHILD.items():
            for index, layer in enumerate(_inserted(module, child)):
                place = f"{name}.{child}.{index}".lstrip(".")
                found.append(Change(type(layer).__name__, how, name, place, _keys(layer, place)))
        if _replaced(module):
            kind = type(module).__name__
            found.append(Change(kind, "instead of", name, name, _keys(module, name)))
    return found


def undo(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Take out of a network all layers that `changes` lists.

    Replaced modules come back with the weights, the dtype and the device that they had, and in the
    mode of what replaced them.

    Args:
        model: A network.
        inplace: Whether to change `model` itself. By default a copy is changed.

    Returns:
        The network without the layers: a copy of `model`, or itself with ``inplace=True``.

    Raises:
        TypeError: If `model` is not a module.
        ValueError: If the model is compiled.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import DropBlock2d, insert_after, undo
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> undo(insert_after(net, nn.Conv2d, lambda conv: DropBlock2d()))
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
        )
    """
    model = _opened("undo", model, inplace)
    for module in list(model.modules()):
        for child in _CHILD.values():
            if isinstance(inserted := _inserted(module, child), Inserted):
                inserted.hook.remove()
                delattr(module, child)
    replacements = [
        (_place(model, name), layer, original)
        for name, layer in model.named_modules(remove_duplicate=False)
        for original in _replaced(layer)
    ]
    for (parent, attribute), layer, original in replacements:
        if original.training != layer.training and original not in layer.modules():
            original.train(layer.training)  # it was not there when the network changed its mode
        setattr(parent, attribute, original)
    return undo(model, inplace=True) if replacements else model  # there may be changes in these


class Replaced(NamedTuple):
    """What a layer keeps of the module in whose place it is. In a tuple that is no child of it."""

    module: nn.Module


# The name of the child that keeps the layers on each side of a module: a part of state dicts' keys.
_CHILD: dict[Literal["after", "before"], str] = {
    "before": "inserted_before",
    "after": "inserted_after",
}


def run_inserted_after(module: Any, args: Any, output: Any) -> Any:
    """Let the layers after a module compute its output."""
    return module.inserted_after(output)


def run_inserted_before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the layers before a module compute its first argument."""
    if args:
        return (module.inserted_before(args[0]), *args[1:]), kwargs
    first = next(iter(kwargs))
    return args, {**kwargs, first: module.inserted_before(kwargs[first])}


def load_original(
    layer: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: dict[str, Any],
    *rest: Any,
) -> None:
    """Let a new layer keep its weights when the state dict is that of the original network."""
    given = {key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)}
    replaced = _replaced(layer)
    original = {key for module in replaced for key in module.state_dict()}
    if given != original or given == layer.state_dict().keys():
        return
    entries = {key: state_dict.pop(prefix + key) for key in given}
    assign = local_metadata.get("assign_to_params_buffers", False)
    for module in replaced:
        module.load_state_dict(entries, assign=assign)
    state_dict.update(layer.state_dict(prefix=prefix, keep_vars=True))


def _insert(
    owner: str,
    model: nn.Module,
    where: Where,
    factory: Factory,
    side: Literal["after", "before"],
    inplace: bool,
) -> nn.Module:
    model = _opened(owner, model, inplace)
    targets, known = find(owner, model, where), all_targets(model)
    hosts = [host(owner, known, target, end=-1 if side == "after" else 0) for target in targets]
    pairs = list(zip(hosts, _made(owner, model, targets, factory), strict=True))
    if side == "after":
        pairs.reverse()  # a container is named before its last module, and its layer runs after
    for module, layer in pairs:
        inserted = _inserted(module, _CHILD[side])
        if not isinstance(inserted, Inserted):
            inserted = Inserted().train(module.training)
            module.add_module(_CHILD[side], inserted)
            # Copies and pickles of the handle keep to the copy's hooks.
            inserted.hook = (
                module.register_forward_hook(run_inserted_after)
                if side == "after"
                else module.register_forward_pre_hook(run_inserted_before, with_kwargs=True)
            )
        inserted.append(layer)
    return model


def _opened(owner: str, model: nn.Module, inplace: bool) -> nn.Module:
    """The network to change."""
    check_kind(owner, nn.Module, model=model)
    for module in model.modules():
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise ValueError(
                f"{owner}: model must not be compiled yet, as compiled code does not see the "
                f"change: call {owner} first, then torch.compile"
            )
    return model if inplace else copy.deepcopy(model)


def _made(owner: str, model: nn.Module, targets: list[Target], factory: Factory) -> list[nn.Module]:
    """A new layer for each target."""
    used = {id(module) for module in model.modules()}
    layers = []
    for names, module in targets:
        layer = made_by(owner, "factory", factory, module)
        if id(layer) in used:
            raise ValueError(
                f"{owner}: factory must return a new module for {names[0]}, got "
                f"{type(layer).__name__}, which is in use"
            )
        _fit(layer, module, next(_tensors(module, model), None), used)
        used.add(id(layer))
        layer.register_load_state_dict_pre_hook(load_original)  # type: ignore[no-untyped-call]
        layers.append(layer)
    return layers


def _tensors(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                yield tensor


def _fit(layer: nn.Module, module: nn.Module, like: Tensor | None, used: set[int]) -> None:
    """Give a layer the mode of a module and the device and dtype of a tensor.

    What the network used before, and the layer wraps, stays as it is.
    """
    if id(layer) in used:
        return
    for child in layer.children():
        _fit(child, module, like, used)
    layer.training = module.training
    if like is None:
        return

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)

    own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    if any(moved(tensor) is not tensor for tensor in own):  # torch cannot move all fake tensors
        layer._apply(moved, recurse=False)  # type: ignore[no-untyped-call]


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The parent of a module, and the module's name there."""
    parent, _, attribute = name.rpartition(".")
    return model.get_submodule(parent), attribute


def _inserted(module: nn.Module, child: str) -> Inserted | tuple[()]:
    inserted = getattr(module, child, None)
    return inserted if isinstance(inserted, Inserted) else ()


def _replaced(layer: nn.Module) -> Replaced | tuple[()]:
    replaced = layer.__dict__.get("replaced")
    return replaced if isinstance(replaced, Replaced) else ()


def _keys(layer: nn.Module, name: str) -> tuple[str, ...]:
    return tuple(layer.state_dict(prefix=f"{name}."))
