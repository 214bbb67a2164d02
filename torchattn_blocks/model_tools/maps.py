"""The attention maps of a whole network, collected in one forward pass."""

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._check import check_kind
from .._kinds import is_attention
from .._modules import Where, members, picked, unwrapped
from .._restored import in_evaluation, uncompiled


def attention_maps(
    model: nn.Module, *inputs: Any, where: Where | None = None, **named: Any
) -> dict[str, Tensor]:
    """The attention map of every attention layer in a model, for one input.

    The model runs once, in evaluation mode and without recording gradients; each module then
    returns to its own mode. A layer counts if it has a method `attention_map` with the same
    arguments as its `forward`. All attention layers of this library have one, and yours may too.
    Each map is computed before the layer runs, so children of the layer are called more than once.
    Compiled models run uncompiled.

    Args:
        model: A network, or any other module. It may be wrapped, for example by `torch.compile` and
            `torch.nn.parallel.DistributedDataParallel`.
        inputs: Positional arguments of the call.
        where: Which attention layers; by default all. A type, a name pattern, a function of name
            and module, or a list of these, as in `insert_after`.
        named: Keyword arguments of the call. (If your model has an argument `where`, pass it by
            position.)

    Returns:
        The maps by their names in ``model.named_modules()``, in the order of the calls. A second
        call of a layer is named ``"name#2"``, and so on. A `CBAM` appears three times: as a whole,
        as ``"name.channel"`` and as ``"name.spatial"``.

    Raises:
        TypeError: If `model` is not a module or `where` of another kind.
        ValueError: If `where` picks no attention layer, or none was called.

    Example:
        >>> import torch
        >>> from torchattn_blocks import attention_maps, rsan
        >>> model, image = rsan(widths=(4, 8)), torch.rand(1, 3, 32, 32)
        >>> for name, attention in attention_maps(model, image).items():
        ...     print(name, tuple(attention.shape))
        encoders.0.1.attention (1, 1, 32, 32)
        bottleneck.1.attention (1, 1, 16, 16)
        decoders.0.1.attention (1, 1, 32, 32)
        >>> list(attention_maps(model, image, where="decoders.**"))
        ['decoders.0.1.attention']
    """
    check_kind("attention_maps", nn.Module, model=model)
    layers = _layers(unwrapped(model), where)
    found = _Found()
    hooks = [
        layer.register_forward_pre_hook(partial(found.note, name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with in_evaluation(model), torch.no_grad(), uncompiled:
            model(*inputs, **named)
    finally:
        for hook in hooks:
            hook.remove()
    if not found.maps:
        raise ValueError(
            f"attention_maps: model must call a layer that has attention maps, got "
            f"{type(unwrapped(model)).__name__} with {len(layers)} such layers"
        )
    return found.maps


def _layers(model: nn.Module, where: Where | None) -> dict[str, nn.Module]:
    """The attention layers to collect maps of, by name."""
    if where is None:
        return {name: module for name, module in model.named_modules() if is_attention(module)}
    among = [m for m in members(model, inserted=True).values() if is_attention(m.module)]
    found = picked("attention_maps", model, among, where, is_attention, "attention layer")
    return {member.paths[0]: member.module for member in found}


class _Found:
    """The maps found so far, by name."""

    def __init__(self) -> None:
        self.maps: dict[str, Tensor] = {}
        self.calls: Counter[str] = Counter()
        self.busy = False  # a map is being computed, for which a layer may call others

    def note(self, name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compute and keep the map of a layer that is about to be called."""
        if self.busy:
            return
        self.busy = True
        try:
            attention = layer.attention_map(*args, **kwargs)
        except Exception as error:
            error.add_note(f"attention_maps: raised by the layer {name!r}")
            raise
        finally:
            self.busy = False
        self.calls[name] += 1
        key = name if self.calls[name] == 1 else f"{name}#{self.calls[name]}"
        self.maps[key] = attention
