"""The state of a training, and the weights that are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from ... import DropBlock, DropSchedule
from ..._torch import lerp_all_
from ..evaluation.threshold import ThresholdChoice
from .checkpoint import LogEntry
from .recipe import Recipe


class State:
    """Weights, optimiser, averages and drop rates of a training, its count of steps and its log."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int) -> None:
        if recipe.calibrate:
            output_bias(model)  # raises before the training, not after
        self.model = model
        self.recipe = recipe
        self.steps = steps
        self.step = 0
        self.losses: list[float] = []  # of the steps since the last validation
        self.log: list[LogEntry] = []
        self.choice: ThresholdChoice | None = None
        self.optimizer = _optimizer(model, recipe)
        self.optimizer.zero_grad()  # earlier gradients, such as from an interrupted step
        self.average = _average(model, recipe.average) if recipe.average else None
        has_blocks = any(isinstance(module, DropBlock) for module in model.modules())
        ramp = round(recipe.ramp * steps) if has_blocks else 0
        self.ramp = DropSchedule(model, 0.0, None, ramp) if ramp else None

    def update(self) -> None:
        """One step of the optimiser and of everything that follows it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(self.step, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.ramp is not None:
            self.ramp.step()
        self.step += 1

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    @contextmanager
    def calibrated(self) -> Iterator[nn.Module]:
        """The network that is kept, with its output bias shifted during the block."""
        if self.choice is None:
            yield self.kept
            return
        bias = output_bias(self.kept).data
        before = bias.clone()
        bias += self.choice.shift
        try:
            yield self.kept
        finally:
            bias.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data and tensors."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counts = {"step": self.step, "losses": self.losses}
        choice = None if self.choice is None else tuple(self.choice)
        return parts | counts | {"choice": choice, "log": [tuple(entry) for entry in self.log]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        for name, part in self._parts().items():
            if name == "ramp" and name not in state:  # of a training too short for one
                part.load_state_dict({**part.state_dict(), "step": state["step"]})
            else:
                part.load_state_dict(state[name])
        self.step, self.losses = state["step"], state["losses"]
        self.choice = None if state["choice"] is None else ThresholdChoice(*state["choice"])
        self.log = [LogEntry(*entry) for entry in state["log"]]

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer}
        others = {"average": self.average, "ramp": self.ramp}
        return parts | {name: part for name, part in others.items() if part is not None}


def output_bias(model: nn.Module) -> Tensor:
    """The bias of the last layer.

    Raises:
        ValueError: If `model` has no ``head.bias``.
    """
    bias = getattr(getattr(model, "head", None), "bias", None)
    if not isinstance(bias, Tensor):
        raise ValueError("train: with recipe.calibrate, model must have head.bias, as UNet has")
    return bias


def _optimizer(model: nn.Module, recipe: Recipe) -> AdamW:
    """AdamW; without weight decay it is Adam."""
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    groups = [
        {"params": [w for w in trained if w.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [w for w in trained if w.dim() < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, recipe.learning_rate)


def _average(model: nn.Module, decay: float) -> AveragedModel:
    """The moving average of weights and statistics, corrected for its start."""

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Tensor | int) -> None:
        if not averages[0].is_floating_point():  # counts of batches
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)
            return
        lerp_all_(averages, currents, (1 - decay) / (1 - decay ** (int(count) + 1)))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


@contextmanager
def rates_restored(model: nn.Module) -> Iterator[None]:
    """Give each DropBlock its own drop rate back after the block."""
    rates = [(module, module.p) for module in model.modules() if isinstance(module, DropBlock)]
    try:
        yield
    finally:
        for module, p in rates:
            module.schedule_p(p)
