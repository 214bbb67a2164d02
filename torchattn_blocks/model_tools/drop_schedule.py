"""A schedule for the rates of dropout layers, over time and over depth.

The "scheduled DropBlock" of Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional
networks", NeurIPS 2018, section 3; the linear decay of Huang, Sun, Liu, Sedra & Weinberger, "Deep
networks with stochastic depth", ECCV 2016, section 3.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from .._check import check_choice, check_ints, check_kind, check_rate, plain
from .._kinds import is_dropout, rate_name, rate_of
from .._modules import Where, members, picked, unwrapped
from ..layers._dropping import Dropping

Shape = Literal["linear", "cosine"]


def linear(t: float) -> float:
    """A straight line."""
    return t


def cosine(t: float) -> float:
    """Half a cosine: slow, fast, slow."""
    return (1 - math.cos(math.pi * t)) / 2


SHAPES: dict[str, Callable[[float], float]] = {"linear": linear, "cosine": cosine}


class DropSchedule:
    """Change the rates of a model's DropBlock and stochastic depth layers during training.

    From Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS
    2018, who raise the rate linearly from 0 ("scheduled DropBlock"). Use it like torch's
    learning-rate schedulers: it sets `start` when you make it, and each `step`, after a step of the
    optimiser, moves every layer's `p` towards `stop`. After `steps` of them the rates stay
    constant. After ``n`` steps a layer has ``p = (1 - f) * start + f * stop`` with
    ``f = shape(min(n / steps, 1))``.

    With `over_depth` the rates also grow from layer to layer, as in Huang et al., "Deep networks
    with stochastic depth", ECCV 2016, equation 4: the ``l``-th of ``L`` layers has ``l / L`` times
    the rate above. That paper has no ramp over time: give the same `start` and `stop`.

    Args:
        model: A module with DropBlock or `StochasticDepth` layers. It may be wrapped, for example
            by `torch.compile` and `torch.nn.parallel.DistributedDataParallel`. Insert layers first:
            a schedule does not know the copies of its model.
        start: The drop rate until the first step.
        stop: The drop rate at the end of the ramp. If None, each layer ends at its own rate: the
            rate that it was made with, or that you set last. Changes by another schedule do not
            count, so a second schedule ends where the first would end.
        steps: Number of steps from `start` to `stop`.
        shape: How the rate changes. ``"linear"``; ``"cosine"``: half a cosine, slow at both ends;
            or a function from the elapsed fraction of the ramp, 0 to 1, to the fraction of the way
            from `start` to `stop`. Its values must keep the rates in [0, 1].
        where: Which dropout layers to change; by default all of this library: DropBlock and
            `StochasticDepth`. A type, a name pattern, a function of name and layer, or a list of
            these, as in `insert_after`. It may also pick dropout layers of torch and other
            libraries that `report` finds: ``where=nn.Dropout2d``. None in a list stands for all of
            this library.
        over_depth: Whether the rates grow linearly over the layers, in the order of
            ``model.modules()``. The last layer has the rate above, the others less.

    Raises:
        TypeError: If `model` is not a module, `start` or `stop` is not a number, `steps` is not an
            int, `over_depth` not a bool, `where` is of another kind, or a layer that it picks has a
            read-only rate.
        ValueError: If `model` has no dropout layer of this library, or `where` picks no dropout
            layer, `start`, `stop` or a rate on the way lies outside [0, 1], `steps` is below 1, or
            `shape` is neither a function nor one of the strings above.

    Note:
        Compiled code is not recompiled, unless it contains the call of `step` itself, or the layers
        come from other libraries: in compiled code their rates are constants. A step after a
        forward pass does not change its backward pass, except under eager activation checkpointing,
        which runs the forward pass again with the new rate. With that, step after the backward
        pass.

    Example:
        >>> import torch
        >>> from torchattn_blocks import DropBlock2d, DropSchedule
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), DropBlock2d(p=0.2, block_size=3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> schedule = DropSchedule(model, start=0.0, stop=None, steps=4)
        >>> for _ in range(6):
        ...     model(torch.ones(1, 1, 9, 9)).mean().backward()
        ...     optimizer.step()
        ...     schedule.step()
        ...     print(schedule.get_last_p())
        [0.05]
        [0.1]
        [0.15000000000000002]
        [0.2]
        [0.2]
        [0.2]

        Stochastic depth in four blocks, which drops more often towards the output:

        >>> from torchattn_blocks import RSAB, StochasticDepth
        >>> blocks = [RSAB(8, drop_path=StochasticDepth) for _ in range(4)]
        >>> model = torch.nn.Sequential(*blocks)
        >>> options = {"where": StochasticDepth, "over_depth": True}
        >>> DropSchedule(model, start=0.2, stop=0.2, steps=1, **options).get_last_p()
        [0.05, 0.1, 0.15000000000000002, 0.2]
    """

    def __init__(
        self,
        model: nn.Module,
        start: float,
        stop: float | None,
        steps: int,
        shape: Shape | Callable[[float], float] = "linear",
        *,
        where: Where | None = None,
        over_depth: bool = False,
    ) -> None:
        check_kind("DropSchedule", nn.Module, model=model)
        check_kind("DropSchedule", bool, over_depth=over_depth)
        check_ints("DropSchedule", 1, steps=steps)
        if not callable(shape):
            check_choice("DropSchedule", SHAPES, shape=shape)
            shape = SHAPES[shape]
        self._layers = _layers(unwrapped(model), where)
        self._start = check_rate("DropSchedule", start, "start")
        self._stop = None if stop is None else check_rate("DropSchedule", stop, "stop")
        self._stops = [
            _own_rate(layer) if self._stop is None else self._stop for layer in self._layers
        ]
        count = len(self._layers)
        self._depths = [(i + 1) / count if over_depth else 1.0 for i in range(count)]
        self._steps = plain(steps)
        self._shape = shape
        self._step = 0
        self._set_rates()

    def step(self) -> None:
        """Change all rates by one step; after the end of the ramp, only count."""
        self._step += 1
        if self._step <= self._steps:
            self._set_rates()

    def get_last_p(self) -> list[float]:
        """The current rate of each layer."""
        return [rate_of(layer) for layer in self._layers]

    def state_dict(self) -> dict[str, Any]:
        """The number of steps so far, and each layer's final rate, as plain numbers."""
        return {"step": self._step, "stops": list(self._stops)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state: also set the rates of the layers.

        `start`, `steps`, `shape`, `where` and `over_depth` are not part of the state. Make the
        schedule with the same ones. A `stop` that you passed stays; with ``stop=None`` the layers
        end at the rates in the state, whatever rates they had when you made this schedule.

        Args:
            state: What `state_dict` returned.

        Raises:
            TypeError: If an entry is not a number.
            ValueError: If `state` does not come from a schedule, or has another number of layers.
        """
        if not {"step", "stops"} <= state.keys():
            keys = sorted(state)
            raise ValueError(f"DropSchedule: state must have keys 'step' and 'stops', got {keys}")
        check_ints("DropSchedule", 0, step=state["step"])
        stops = [check_rate("DropSchedule", stop, "stops") for stop in state["stops"]]
        if len(stops) != len(self._layers):
            raise ValueError(
                f"DropSchedule: state must be of {len(self._layers)} layers, got {len(stops)}"
            )
        self._step = plain(state["step"])
        if self._stop is None:
            self._stops = stops
        self._set_rates()

    def _set_rates(self) -> None:
        way = self._shape(min(self._step / self._steps, 1.0))
        for layer, stop, depth in zip(self._layers, self._stops, self._depths, strict=True):
            # This form ends exactly at `stop`.
            _set_rate(layer, depth * ((1 - way) * self._start + way * stop))


def _layers(model: nn.Module, where: Where | None) -> list[nn.Module]:
    """The layers that the schedule changes."""
    if where is not None:
        among = [m for m in members(model, inserted=True).values() if is_dropout(m.module)]
        found = picked("DropSchedule", model, among, where, _is_ours, "dropout layer")
        layers = [member.module for member in found]
        for layer in layers:
            _set_rate(layer, rate_of(layer))  # a read-only rate raises before others change
        return layers
    layers = [module for module in model.modules() if _is_ours(module)]
    if not layers:
        got = type(model).__name__
        raise ValueError(
            f"DropSchedule: model must have a DropBlock or StochasticDepth layer, got {got}"
        )
    return layers


def _is_ours(module: nn.Module) -> bool:
    """Whether it is a dropout layer of this library."""
    return isinstance(module, Dropping)


# The attribute of other libraries' layers for their own rate and the rate that a schedule set last.
_MARK = "_drop_schedule_rates"


def _own_rate(layer: nn.Module) -> float:
    """The rate that the layer was made with or that was set last, except by schedules."""
    if isinstance(layer, Dropping):
        return layer.own_p
    rate = rate_of(layer)
    own, scheduled = getattr(layer, _MARK, (rate, rate))
    return own if rate == scheduled else rate


def _set_rate(layer: nn.Module, rate: float) -> None:
    if isinstance(layer, Dropping):
        layer.schedule_p(rate)
        return
    name, own, kind = rate_name(layer), _own_rate(layer), type(layer).__name__
    rate = check_rate(kind, rate, name)
    try:
        setattr(layer, name, rate)
    except AttributeError as error:
        raise TypeError(f"DropSchedule: where picks {kind}, whose {name} is read-only") from error
    setattr(layer, _MARK, (own, rate))
