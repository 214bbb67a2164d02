"""Base of the dropout layers: a rate that schedules change and compiled code takes as input."""

from typing import Any, cast

import torch
from torch import Tensor, fx

from .._check import check_rate, check_rate_tensor
from .._torch import Dropout, ordinary_tensors


def rate_to_drop(owner: str, p: float | Tensor, training: bool) -> float | Tensor | None:
    """The rate, checked; None if nothing is to be dropped."""
    compiling = torch.compiler.is_compiling()
    if compiling and isinstance(p, Tensor):
        check_rate_tensor(owner, p)  # its value is not readable yet
    else:
        p = check_rate(owner, p)
    return None if not training or (not compiling and p == 0) else p


def refuse_dtensor(owner: str, x: Tensor) -> None:
    """Raise for a sharded tensor: each rank would draw what it drops by itself."""
    if any(kind.__name__ == "DTensor" for kind in type(x).__mro__):
        raise TypeError(
            f"{owner}: x must not be a DTensor. Drop in the part that each rank holds, by "
            "torch.distributed.tensor.experimental.local_map(layer, list(x.placements))(x)"
        )


class Dropping(Dropout):  # tools that look for dropout find it by this base class
    """A layer that drops part of its input in training and returns its input in evaluation."""

    def __init__(self, p: float, *, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)
        self.p = p

    @property
    def p(self) -> float:
        """Probability that an element is dropped."""
        return self._p

    @p.setter
    def p(self, p: float | Tensor) -> None:
        self.schedule_p(p)
        self._own_p = self._p

    @property
    def own_p(self) -> float:
        """The `p` that you set last, in the constructor or later, without the changes by schedules.

        `DropSchedule` ends there by default. Copies and pickles contain it, state dicts do not.
        """
        return self._own_p

    def schedule_p(self, p: float | Tensor) -> None:
        """Set `p` for now, as a schedule does, and leave `own_p` as it is."""
        self._p = check_rate(type(self).__name__, p)
        # For compiled code, which treats a tensor as an input and a float as a constant. It is a
        # plain attribute: .half() would round a buffer, and the state dict would contain it. It is
        # a new tensor each time: a backward pass may still hold the last one. It has one dimension,
        # not zero: compiled code treats 0-d tensors as numbers, and would be compiled twice.
        self._p_tensor: Tensor | None = None
        if not torch.compiler.is_compiling():  # the graph contains the float itself
            with ordinary_tensors():
                self._p_tensor = torch.tensor([self._p], dtype=torch.float64, device="cpu")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_p_tensor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.schedule_p(self._p)

    def drop(self, x: Tensor, p: float | Tensor) -> Tensor:
        """Drop a part of `x`, with the probability `p`. Each layer defines this."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Drop a part of `x`, or return it unchanged in evaluation."""
        if isinstance(recorded := cast(Any, x), fx.Proxy):
            tracer = cast(Any, recorded.tracer)
            if getattr(tracer, "root", self) is not self:
                # A module of the traced graph, like torch's own dropout: you can switch its mode.
                path = tracer.path_of_module(self)
                return cast(Tensor, tracer.create_proxy("call_module", path, (x,), {}))
        if not self.training:
            return x
        if torch.compiler.is_compiling() and self._p_tensor is not None:
            return self.drop(x, self._p_tensor[0])
        return self.drop(x, self._p)  # compiled code that reads the float depends on its value
