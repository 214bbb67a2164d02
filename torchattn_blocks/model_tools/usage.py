"""Which dropout and attention layers of a network run, and what fraction dropout really keeps."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from .._check import check_kind
from .._kinds import is_attention, is_dropout, rate_of
from .._modules import HOST, StandsForHost, Where, members, picked, unwrapped
from .._restored import uncompiled
from ..surgery.listing import changes
from ._watch import Watch
from ._with import for_with


@for_with
def report(model: nn.Module, *, where: Where | None = None) -> Iterator["Report"]:
    """Record which dropout and attention layers of a network run, and what they really drop.

    While the block is open, hooks count the calls of each such layer. After each call in training
    mode, a dropout layer runs again on ones, with the same random numbers of torch. This gives its
    exact mask, even where the feature map itself has zeros, as after a ReLU. The report does not
    change random numbers, outputs or gradients. After the block the hooks are gone, and layers run
    as fast as before.

    Dropout layers are the ones of torch and this library, and layers of other libraries without
    parameters whose class name begins with "Drop" or "StochasticDepth" and whose rate is called
    ``p`` or ``drop_prob``. Attention layers are layers whose class has a method `attention_map`.
    Other layers from `insert_after`, `insert_before` and `replace` are listed too: an inserted
    layer never runs if the network does not call the module that it was inserted at.

    Args:
        model: A network. It may be wrapped, for example by `torch.compile` and
            `torch.nn.parallel.DistributedDataParallel`. Inside the block all compiled code of the
            process runs uncompiled, because it does not see hooks.
        where: Which modules to record instead of the default ones above; calls of any module can be
            counted. A type, a name pattern, a function of name and module, or a list of these, as
            in `insert_after`. None in a list stands for the default ones.

    Returns:
        A context manager that gives a `Report`. You can read and print it at any time, inside the
        block and after it.

    Raises:
        TypeError: If `model` is not a module or `where` of another kind, or if you call the
            returned object: call the model in the block.
        ValueError: If `where` picks no module.

    Note:
        The report does not see dropout inside other computations, such as
        `torch.nn.MultiheadAttention` and calls of `torch.nn.functional.dropout`. A mask is measured
        on CPUs and CUDA, outside the transforms of `torch.func`, if the layer maps one real tensor
        to one of the same shape. Calls that checkpointing repeats in the backward pass are not
        counted again. In evaluation `torch.nn.TransformerEncoderLayer` takes its slower path, which
        differs by rounding. Copies that you make inside the block do not count.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from torchattn_blocks import DropBlock2d, report
        >>> net = nn.Sequential(DropBlock2d(0.2, 3), nn.Sequential(DropBlock2d(0.1, 3)).eval())
        >>> with report(net) as used:
        ...     y = net(torch.zeros(8, 16, 32, 32))
        >>> used.layers[0].calls, used.layers[0].fired, round(used.layers[0].kept, 1)
        (1, 1, 0.8)
        >>> print(used.layers[1].remark)
        never fired: called once, in evaluation mode
    """
    check_kind("report", nn.Module, model=model)
    model = unwrapped(model)
    watches = _watches(model, where)
    with ExitStack() as stack, uncompiled:
        for watch in watches:
            watch.open()
            stack.callback(watch.close)
        listed = [watch for watch in watches if watch.kind != "host"]
        yield Report(type(model).__name__, lambda: [_use(watch) for watch in listed])


@dataclass(frozen=True)
class LayerUse:
    """What one layer did while a report was open.

    Attributes:
        name: Its name, in ``model.named_modules()``.
        layer: The name of its class.
        kind: ``"dropout"``, ``"attention"``, or ``"other"`` for other layers that were put in.
        p: The probability of dropping that you asked for: the mean over its measured calls, or the
            current one. None if the layer is not dropout.
        kept: The fraction of elements that it kept, over its measured calls. None if the layer is
            not dropout or no call was measured.
        calls: How often it was called.
        fired: How often it had an effect: for dropout the calls that dropped something, otherwise
            all.
        remark: Why it never fired, such as ``"never fired: never called"``; otherwise an empty
            string.

    Example:
        >>> from torch import nn
        >>> from torchattn_blocks import LayerUse, report
        >>> with report(nn.Dropout(0.5)) as used:
        ...     pass
        >>> used.layers[0]  # doctest: +NORMALIZE_WHITESPACE
        LayerUse(name='', layer='Dropout', kind='dropout', p=0.5, kept=None, calls=0, fired=0,
                 remark='never fired: never called')
    """

    name: str
    layer: str
    kind: str
    p: float | None
    kept: float | None
    calls: int
    fired: int
    remark: str


class Report:
    """The records of `report`. ``print`` shows a table, and below it which layers never fired.

    Args:
        model: The name of the network's class.
        uses: A function that returns what each layer did so far.

    Example:
        >>> import torch
        >>> from torchattn_blocks import Report, SpatialAttention, report
        >>> net = torch.nn.Sequential(SpatialAttention())
        >>> with report(net) as used:
        ...     y = net(torch.zeros(1, 8, 16, 16))
        >>> assert isinstance(used, Report)
        >>> print(used)
        layer  class             p  kept  fired  calls
        0      SpatialAttention  -     -      1      1
        <BLANKLINE>
        Every layer fired.
    """

    def __init__(self, model: str, uses: Callable[[], list[LayerUse]]) -> None:
        self._model = model
        self._uses = uses

    @property
    def layers(self) -> list[LayerUse]:
        """What each layer did so far, in the order of ``model.named_modules()``."""
        return self._uses()

    def __repr__(self) -> str:
        return str(self)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The same as plain dictionaries of strings and numbers, for files."""
        return [asdict(layer) for layer in self.layers]

    def __str__(self) -> str:
        layers = self.layers
        if not layers:
            return f"{self._model} has no dropout layer, no attention layer and no inserted one."
        rows = [["layer", "class", "p", "kept", "fired", "calls"]]
        for use in layers:
            numbers = [_rounded(use.p), _rounded(use.kept), str(use.fired), str(use.calls)]
            rows.append([use.name, use.layer, *numbers])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, "", *(_remarks(layers) or ["Every layer fired."])])


def _remarks(layers: list[LayerUse]) -> list[str]:
    """One sentence for all layers of a class with the same remark."""
    named: dict[tuple[str, str], list[str]] = {}
    for use in layers:
        if use.remark:
            named.setdefault((use.layer, use.remark), []).append(use.name or "the model")
    sentences = []
    for (layer, remark), names in named.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        sentences.append(f"{', '.join(names[:3])}{more} ({layer}): {remark}")
    return sentences


def _watches(model: nn.Module, where: Where | None) -> list[Watch]:
    """A watch for each listed layer, and for each module that layers are inserted at."""
    modules = dict(model.named_modules())
    kinds = _usual(model, modules)
    if where is not None:
        usual = {id(modules[name]) for name in kinds}
        among = [*members(model, inserted=True).values()]
        found = picked("report", model, among, where, lambda module: id(module) in usual)
        kinds = {member.paths[0]: _kind(member.module) or "other" for member in found}
    hosts: dict[str, str] = {}
    for name, module in modules.items():
        if isinstance(module, StandsForHost):
            kinds[name] = "host"
            for child, layers in module.named_children():
                if child != HOST:
                    within = layers.named_modules(prefix=f"{name}.{child}".lstrip("."))
                    hosts |= dict.fromkeys((inner for inner, _ in within), name)
    watches = {
        name: Watch(name, module, kinds[name]) for name, module in modules.items() if name in kinds
    }
    for name, host in hosts.items():
        if name in watches:
            watches[name].host = watches[host]
    return list(watches.values())


def _usual(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, str]:
    """The kinds of the layers that are listed without `where`, by name."""
    kinds = {name: kind for name, module in modules.items() if (kind := _kind(module))}
    for change in changes(model):
        within = modules[change.name].named_modules(prefix=change.name)
        if not any(name in kinds for name, _ in within):
            kinds[change.name] = "other"
    return kinds


def _rounded(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


def _kind(module: nn.Module) -> str:
    """``"dropout"``, ``"attention"``, or nothing."""
    return "attention" if is_attention(module) else "dropout" if is_dropout(module) else ""


def _use(watch: Watch) -> LayerUse:
    """The counts of a layer so far."""
    p = None
    if watch.kind == "dropout":
        p = watch.rates / watch.measured if watch.measured else rate_of(watch.module)
    return LayerUse(
        name=watch.name,
        layer=type(watch.module).__name__,
        kind=watch.kind,
        p=p,
        kept=watch.kept / watch.elements if watch.elements else None,
        calls=watch.calls,
        fired=watch.fired,
        remark=_remark(watch, p),
    )


def _remark(watch: Watch, p: float | None) -> str:
    if watch.fired:
        return ""
    called = "called once" if watch.calls == 1 else f"called {watch.calls} times"
    if watch.calls == 0:
        why = "never called"
        if watch.host is not None and watch.host.calls == 0:
            why += f", as {watch.host.name or 'the model'} never is"
    elif watch.in_training == 0:
        why = f"{called}, in evaluation mode"
    elif watch.measured == 0:
        return f"{called}, where its mask cannot be measured"
    elif p == 0:
        why = f"{called}, with p = 0"
    else:
        why = f"{called}, and dropped nothing"
    return f"never fired: {why}"
