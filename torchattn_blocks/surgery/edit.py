"""Insert layers into any network, or replace its layers, without changing its code."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .._check import check_kind
from .._factory import made_by
from .._modules import Member, Where, members, picked
from .._torch import is_compiled, move
from ._host import check_called, check_not_wrapped, host
from ._insertion import CHILD, Insertion, Side, add_layer, layers_of, release
from ._loading import forget_to_warn, keep_weights, warn_of_a_part
from ._mark import mark, no_hook, replaced, unmark
from ._places import swap

Factory = Callable[[Any], nn.Module]


def insert_after(
    model: nn.Module, where: Where, factory: Factory, *, inplace: bool = False
) -> nn.Module:
    """Insert a layer after each module that `where` picks; it processes the module's output.

    Args:
        model: Any network, also a pretrained one. Call `torch.compile` after this function.
        where: Which modules to insert a layer at. A type: its instances. A string: the modules
            whose names match it, where ``*`` stands for any characters except a dot, ``**`` for any
            number of parts between dots, and ``?`` and ``[a-z]`` for one character. A function
            ``where(name, module)``: the modules for which it is true. A list or tuple of these:
            everything that any of them picks. Names are as in ``model.named_modules()``, but
            without the ``host`` of layers inserted before. Those layers and the modules in them are
            not picked.
        factory: A function that takes the picked module and returns a new layer for it. The layer
            gets the device, the floating-point dtype and the mode of the module, and takes its
            output. `in_channels` and `out_channels` give you the channels.
        inplace: Whether to change `model` itself. By default a copy is changed. A network that
            torch cannot copy, such as one with lazy modules that never ran, can only be changed
            in place. A module that is also part of another network is changed only in `model`.

    Returns:
        The network with the layers: a copy of `model`, or itself with ``inplace=True``.

    Raises:
        TypeError: If an argument is not of the kind above, or `factory` returns no module.
        ValueError: If `where` or a pattern in it picks nothing, or it picks a module where a layer
            would not run as it should; if `factory` returns a module that is in use or compiled; if
            the model is compiled, or wrapped for several processes. The model is then as it was.

    Note:
        **Containers.** The last module of a `torch.nn.Sequential` holds a layer after it, the first
        module a layer before it. A module that is used several times has one layer, which runs each
        time. Layers inserted at one module run in the order of insertion.

        **Names.** An ``Insertion`` takes the place of the module. It calls the module and its
        layers, and passes on the attributes that the module has now. In it the module is ``host``:
        the module's parameters have names such as ``"conv1.host.weight"``, the layers' such as
        ``"conv1.inserted_after.0.weight"``, which `changes` lists. `where` still takes the name
        ``"conv1"``, and ``net.conv1.weight`` is unchanged.

        **State dicts.** A state dict without any key of a layer, such as the original network's,
        loads with ``strict=True``, and the layer keeps its weights. One that has the weights of
        some layers and not of others loads with a UserWarning that names the layers that kept
        theirs. A layer on the meta device has no weights to keep: torch then reports its keys as
        missing. The state dict of ``undo(model)`` has the keys of the original.

        **Calls.** A layer runs when its module is called. It does not run where code only reads the
        module's parameters: `report` shows which layers ran. Forward hooks of the module see its
        output after the layers; its pre-hooks and backward hooks stay with it. Hooks that you
        register at its name later belong to the whole.

        **Made before.** An optimiser, a `DropSchedule` or a moving average of weights made for
        `model` does not know the copy. Make them after this function.

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
    """Insert a layer before each module that `where` picks; it processes the first argument.

    Takes the arguments of `insert_after`, with the same notes and errors. In addition, calling
    the module without any argument raises a TypeError.

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

    Takes the arguments of `insert_after`, with the same errors. In addition, picking the model
    itself, or a module with inserted layers in it, raises a ValueError.

    The new layer takes the module's name, wherever the module is used. Its keys replace the
    module's. The module is kept for `undo`, also in pickles, but does not move between devices with
    the network. State dicts of the original network still load. The new layer takes the module's
    entries if they fit it in keys and shapes. Otherwise the module takes them, and the layer keeps
    its weights.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import DropBlock2d, replace
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.2), nn.Conv2d(8, 8, 3))
        >>> replace(net, nn.Dropout2d, lambda dropout: DropBlock2d(dropout.p, block_size=5))[1].p
        0.2
    """
    model = _opened("replace", model, inplace)
    targets = picked("replace", model, [*members(model, inserted=False).values()], where)
    for target in targets:
        check_called("replace", target, target)
        if "" in target.names:
            raise ValueError("replace: where must pick modules in the model, got the model itself")
        parts = (*target.parents, *target.module.modules())
        if any(isinstance(part, Insertion) for part in parts):
            raise ValueError(
                f"replace: where picks {target.names[0]}, in which layers are inserted: call undo "
                "first, or replace first and insert then"
            )
    layers = _made("replace", model, targets, factory)
    for target, layer in zip(targets, layers, strict=True):
        hooks = [keep_weights(layer)]
        if _skipped(target):
            hooks.append(layer.register_forward_hook(no_hook))
        mark(layer, target.module, *hooks)
    swap(model, {id(target.module): layer for target, layer in zip(targets, layers, strict=True)})
    warn_of_a_part(model)
    return model


def undo(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Remove all layers that `changes` lists from a network.

    Replaced modules come back with their old weights, dtype and device, and in the mode of the
    layer that replaced them.

    Args:
        model: A network.
        inplace: Whether to change `model` itself. By default a copy is changed.

    Returns:
        The network without the layers: a copy of `model`, or itself with ``inplace=True``.

    Raises:
        TypeError: If `model` is not a module.
        ValueError: If the model is compiled, or wrapped for several processes.

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
    if inplace and _stands_for_another(model):
        raise ValueError(
            "undo: model itself is in the place of another module, which inplace=True cannot "
            "change: leave it out, and use what is returned"
        )
    forget_to_warn(model)
    by: dict[int, nn.Module] = {}
    taken_out: list[nn.Module] = []  # kept to the end, so that no `id` is reused
    while True:
        found = [
            part for part in model.modules() if id(part) not in by and _stands_for_another(part)
        ]
        for part in found:
            if isinstance(part, Insertion):
                by[id(part)] = release(part)
                taken_out += (layer for side in CHILD for layer in layers_of(part, side))
            if (original := replaced(part)) is not None:
                by[id(part)] = original
                if original.training != part.training and original not in part.modules():
                    original.train(part.training)  # it was away when the mode changed
        taken_out += found
        swap(model, by)  # repeat: a returned module may be, have or refer to one of these
        model = by.get(id(model), model)
        if not found:
            for part in taken_out:
                unmark(part)
            return model


def _stands_for_another(module: nn.Module) -> bool:
    return isinstance(module, Insertion) or replaced(module) is not None


def _insert(
    owner: str,
    model: nn.Module,
    where: Where,
    factory: Factory,
    side: Side,
    inplace: bool,
) -> nn.Module:
    model = _opened(owner, model, inplace)
    known = members(model, inserted=False)
    targets = picked(owner, model, [*known.values()], where)
    hosts = [host(owner, known, target, side) for target in targets]
    for target, found in zip(targets, hosts, strict=True):
        check_not_wrapped(owner, target, found, model, side)
        if inplace and found.module is model:
            raise ValueError(
                f"{owner}: where picks the model itself, whose place inplace=True cannot change: "
                "leave it out, and use what is returned"
            )
    pairs = list(zip(hosts, _made(owner, model, targets, factory), strict=True))
    if side == "after":
        pairs.reverse()  # a container comes before its last module, and its layer runs after
    insertions: dict[int, nn.Module] = {}
    for found, layer in pairs:
        mark(layer, None, keep_weights(layer))
        add_layer(_insertion(found, insertions), side, layer)
    swap(model, insertions)
    model = insertions.get(id(model), model)
    warn_of_a_part(model)
    return model


def _insertion(target: Member, new: dict[int, nn.Module]) -> Insertion:
    """The insertion that has a module as its host: an existing one, or a new one, by `id`."""
    for found in (*target.parents, new.get(id(target.module))):
        if isinstance(found, Insertion):
            return found
    new[id(target.module)] = insertion = Insertion(target.module)
    if _skipped(target):
        insertion.register_forward_hook(no_hook)
    return insertion


def _skipped(target: Member) -> bool:
    """Whether a parent skips calling its children, unless one of them has a hook."""
    return any(isinstance(parent, nn.TransformerEncoderLayer) for parent in target.parents)


def _opened(owner: str, model: nn.Module, inplace: bool) -> nn.Module:
    """The network to change."""
    check_kind(owner, nn.Module, model=model)
    check_kind(owner, bool, inplace=inplace)
    for name, module in model.named_modules():
        if is_compiled(module):
            raise ValueError(
                f"{owner}: model must not be compiled yet, as compiled code does not see the "
                f"change: call {owner} first, then torch.compile"
            )
        if any(kind.__name__ in _PARALLEL for kind in type(module).__mro__):
            raise ValueError(
                f"{owner}: model must not be wrapped for several processes yet, as these would not "
                f"share new parameters, got {type(module).__name__}{name and ' as '}{name}: call "
                f"{owner} on the network in it"
            )
    return model if inplace else copy.deepcopy(model)


# By name, as they may be missing. `fully_shard` makes an FSDPModule.
_PARALLEL = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")


def _made(owner: str, model: nn.Module, targets: list[Member], factory: Factory) -> list[nn.Module]:
    """A new layer for each target."""
    used = {id(module) for module in model.modules()}
    layers = []
    for module, names, *_ in targets:
        layer = made_by(owner, "factory", factory, module)
        if isinstance(layer, torch.jit.ScriptModule) or any(map(is_compiled, layer.modules())):
            raise ValueError(
                f"{owner}: factory must return a layer that is not compiled yet, got "
                f"{type(layer).__name__} for {names[0]}: compile the whole network"
            )
        if id(layer) in used:
            raise ValueError(
                f"{owner}: factory must return a new module for {names[0]}, got "
                f"{type(layer).__name__}, which is in use"
            )
        _fit(layer, module, next(_tensors(module, model), None), used)
        used.add(id(layer))
        layers.append(layer)
    return layers


def _tensors(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point() and tensor.dtype.itemsize > 1:  # one byte: quantised
                yield tensor


def _fit(layer: nn.Module, module: nn.Module, like: Tensor | None, used: set[int]) -> None:
    """Give a layer the mode of a module and the device and dtype of a tensor.

    Modules that the network used before and that the layer wraps stay as they are.
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
        move(layer, moved)
