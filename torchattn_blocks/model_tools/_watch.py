"""Count the calls of one layer, and what it drops."""

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .._kinds import rate_of
from .._torch import is_in_backward
from ..layers._eager import has_memory


class Watch:
    """The counts of one layer."""

    def __init__(self, name: str, module: nn.Module, kind: str) -> None:
        self.name = name
        self.module = module
        self.kind = kind
        self.host: Watch | None = None  # the watch of the module that this layer is inserted at
        self.calls = self.fired = 0
        self.in_training = 0
        self.measured = 0
        self.rates = 0.0
        self.kept = self.elements = 0
        self.states: list[Tensor] = []
        self.hooks: list[RemovableHandle] = []
        self.is_open = False

    def open(self) -> None:
        """Begin to count."""
        self.is_open = True
        self.hooks = [
            self.module.register_forward_pre_hook(self.before, with_kwargs=True),
            self.module.register_forward_hook(self.after, with_kwargs=True),
        ]

    def close(self) -> None:
        """Stop counting, and remove the hooks."""
        self.is_open = False
        for hook in self.hooks:
            hook.remove()

    def __getstate__(self) -> dict[str, Any]:
        """The state for a copy of the module, made while this counts: copies do not count."""
        return {**self.__dict__, "is_open": False, "states": []}

    def before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the state of the random generators that the layer is about to use."""
        if torch.compiler.is_compiling():  # torch.export records the call
            return
        self.states = []
        if not self.is_open:
            self.close()
        elif self.kind == "dropout" and module.training and not _is_hidden():
            x = _only_tensor(args, kwargs)
            if x is not None:
                self.states = [generator.get_state() for generator in _generators(x)]

    def after(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Count a call."""
        if torch.compiler.is_compiling() or _is_hidden():
            return
        self.calls += 1
        if self.kind != "dropout":
            self.fired += 1
            return
        self.in_training += module.training
        x = _only_tensor(args, kwargs) if self.states else None
        if x is not None and isinstance(output, Tensor) and output.shape == x.shape:
            self._measure(module, args, kwargs, _generators(x))

    def _measure(
        self,
        module: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        generators: list[torch.Generator],
    ) -> None:
        """Run the layer again on ones, with the same random numbers, and count what it keeps."""
        args = tuple(map(_ones, args))
        kwargs = {name: _ones(value) for name, value in kwargs.items()}
        now = [generator.get_state() for generator in generators]
        token = _measuring.set(True)
        try:
            _set_states(generators, self.states)
            with torch.no_grad():
                mask = module.forward(*args, **kwargs) > 0  # AlphaDropout drops to below 0
        finally:
            _measuring.reset(token)
            _set_states(generators, now)
        kept = int(mask.sum())
        self.measured += 1
        self.rates += rate_of(module)
        self.kept += kept
        self.elements += mask.numel()
        self.fired += kept < mask.numel()


_measuring = ContextVar("measuring", default=False)  # in this thread


def _is_hidden() -> bool:
    """Whether this call does not come from the network itself."""
    # Checkpointing computes it again, or it is inside a layer that is being measured.
    return is_in_backward() or _measuring.get()


def _only_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that a layer drops a part of, if that is clear and measurable."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if len(tensors) != 1 or not has_memory(tensors[0]) or not tensors[0].is_floating_point():
        return None
    return tensors[0] if tensors[0].device.type in ("cpu", "cuda") else None


def _ones(value: Any) -> Any:
    return torch.ones_like(value) if isinstance(value, Tensor) else value


def _generators(x: Tensor) -> list[torch.Generator]:
    """Torch's own generators that a layer may draw from."""
    others = [torch.cuda.default_generators[x.get_device()]] if x.is_cuda else []
    return [torch.default_generator, *others]


def _set_states(generators: list[torch.Generator], states: list[Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
