"""Keep less for the backward pass: compute again what is cheap to compute.

Autograd saves the input of a normalisation and the output of the activation after it, though the
second follows from the first. Inside `Recomputation` each saved tensor goes into a `Kept`. After a
function of `_recipes.py` runs, its output gets a `Recipe`, if the inputs are kept anyway or have
recipes themselves. Any node that saves this output then saves its recipe.

Modules are called as they are, once: a `TorchFunctionMode` sees which functions they call, with
which arguments. Autograd saves the tensors of other functions as always.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from .._torch import (
    base,
    is_transformed,
    is_wrapped,
    saved_tensor_hooks,
    saved_tensor_hooks_allowed,
    version,
)
from ._eager import has_memory

# The longest chain of recipes that starts at a kept tensor. In RSAN it is: product, sum,
# normalisation, activation, concatenation, normalisation, activation.
_LONGEST_CHAIN = 8

LARGE = 2**16  # elements of a product that is worth computing twice

_KINDS = (Tensor, nn.Parameter)


class View(NamedTuple):
    """How a tensor lies in its storage."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, x: Tensor) -> "View":
        """The view that `x` is."""
        return cls(tuple(x.shape), x.stride(), int(x.storage_offset()))


class Kept:
    """The tensor that a node of the graph saved, or a recipe for its storage."""

    __slots__ = ("__weakref__", "recipe", "tensor", "version", "view")

    def __init__(self, tensor: Tensor) -> None:
        # A leaf must come back as it was. Any other tensor would keep the graph alive, and the
        # graph this.
        self.tensor: Tensor | None = tensor if tensor.is_leaf else tensor.detach()
        self.version = version(tensor)
        self.recipe: Recipe | None = None
        self.view: View | None = None

    def give_up(self, tensor: Tensor, recipe: "Recipe") -> None:
        """Hold the tensor's recipe instead of the tensor."""
        self.tensor, self.recipe, self.view = None, recipe, View.of(tensor)
        recipe.holders += 1
        recipe.waiting += 1

    def unpack(self) -> Tensor:
        """The tensor, for the node that saved it."""
        if self.recipe is not None and self.view is not None:
            result = self.recipe.take()
            return result if self.view == self.recipe.view else result.as_strided(*self.view)
        return self.value()

    def value(self) -> Tensor:
        """The kept tensor. With hooks, torch no longer checks for changes itself."""
        if self.tensor is None:
            raise RuntimeError("a recipe has no value of its own")
        if version(self.tensor) != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: a tensor of shape {tuple(self.tensor.shape)}, kept by "
                "memory_efficient"
            )
        return self.tensor


class Input(NamedTuple):
    """An input of a recipe: a kept tensor, or a view of another recipe's tensor."""

    source: "Kept | Recipe"
    view: View | None = None


class Value(NamedTuple):
    """An input's tensor. If it is `fresh`, nobody else holds it, so it may be overwritten."""

    tensor: Tensor
    fresh: bool


Compute = Callable[[Sequence[Value]], Tensor]


class Recipe:
    """How to compute a tensor again.

    It is computed on the first request, and released after the last holder of the recipe has asked.
    """

    def __init__(self, out: Tensor, compute: Compute, inputs: Sequence[Input], keep: bool) -> None:
        self.view, self.dtype = View.of(out), out.dtype
        self.compute, self.inputs, self.keep = compute, inputs, keep
        recipes = [one.source for one in inputs if isinstance(one.source, Recipe)]
        self.depth: int = 1 + max((recipe.depth for recipe in recipes), default=0)
        kind = out.device.type
        self.cast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        self.result: Tensor | None = None
        self.holders = self.waiting = 0

    def take(self) -> Tensor:
        """The tensor, for one of the holders."""
        result = self.peek(keep=True)
        self.waiting -= 1
        if self.waiting <= 0:  # and for another backward pass from the start
            self.result, self.waiting = None, self.holders
        return result

    def peek(self, *, keep: bool) -> Tensor:
        """The tensor, for another recipe. With `keep` it stays for holders still to ask."""
        if self.result is not None:
            return self.result
        with torch.no_grad(), self._precision():
            result = self.compute([self._value(one, keep and self.keep) for one in self.inputs])
            if View.of(result) != self.view:
                size, stride, _ = self.view
                laid_out = torch.empty_strided(
                    size, stride, dtype=result.dtype, device=result.device
                )
                result = laid_out.copy_(result)
        if keep and self.waiting:
            self.result = result
        return result

    def _precision(self) -> AbstractContextManager[object, bool | None]:
        """The mixed precision of the forward pass."""
        kind, dtype, enabled = self.cast
        if not enabled and not torch.is_autocast_enabled(kind):
            return nullcontext()
        return torch.autocast(kind, dtype, enabled=enabled, cache_enabled=False)

    @staticmethod
    def _value(one: Input, keep: bool) -> Value:
        if isinstance(one.source, Kept):
            return Value(one.source.value(), fresh=False)
        result = one.source.peek(keep=keep)
        if one.view is None or one.view == one.source.view:
            return Value(result, fresh=one.source.result is None)
        return Value(result.as_strided(*one.view), fresh=False)


class Plan(NamedTuple):
    """A function's rule: from which tensors its output is computed again, and how.

    Attributes:
        inputs: Tensors that the output follows from.
        compute: The output, from the values of the inputs.
        keep: Whether to keep the values of inputs until other holders, who ask soon, have taken
            them.
        output: The tensor that `compute` returns, if it is not the function's output.
    """

    inputs: Sequence[Tensor]
    compute: Compute
    keep: bool = True
    output: Tensor | None = None


Rule = Callable[[Tensor, tuple[Any, ...], dict[str, Any]], Plan | None]


class Recomputation(TorchFunctionMode):
    """A context in which backward computes outputs of the functions in `rules` again."""

    def __init__(self, rules: Mapping[Any, Rule]) -> None:
        super().__init__()
        self._rules = rules
        self._pack_hook = self._pack  # one object, so that it can be recognised
        self._hooks = saved_tensors_hooks(self._pack_hook, Kept.unpack)
        self._known: dict[int, tuple[weakref.ref[Tensor], int, Recipe]] = {}
        self._kept: dict[int, list[weakref.ref[Kept]]] = {}

    def __enter__(self) -> "Recomputation":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._known.clear()
        self._kept.clear()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, and make a recipe for its output."""
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():  # part of the network is compiled code
            return func(*args, **kwargs)
        rule = self._rules.get(func)
        if rule is None or not self._decides():
            return func(*args, **kwargs)
        first: Any = args[0] if args else None
        before = self._recipe_of(first) if _is_plain(first) else None
        out = func(*args, **kwargs)
        if _is_plain(out) and out.requires_grad:
            with torch.no_grad():
                plan = rule(out, args, kwargs)
            if plan is not None:
                self._follow(plan, out if plan.output is None else plan.output, before)
        return out

    def _decides(self) -> bool:
        """Whether saved tensors now come here: part of a network may have its own hooks."""
        hooks = saved_tensor_hooks()
        mine = hooks is not None and hooks[0] is self._pack_hook
        return mine and torch.is_grad_enabled() and not is_transformed()

    def _pack(self, tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        if _is_plain(tensor):
            recipe = self._recipe_of(tensor)
            if recipe is not None:
                kept.give_up(tensor, recipe)
            else:
                self._kept.setdefault(_address(tensor), []).append(weakref.ref(kept))
        return kept

    def _follow(self, plan: Plan, out: Tensor, before: Recipe | None) -> None:
        """Make a recipe for `out`, if that takes less memory than `out` does.

        `before` is the recipe of the function's first argument, before the call.
        """
        size = out.numel() * out.element_size()
        if out.untyped_storage().nbytes() != size:
            return
        more = 0  # bytes that are kept only for this recipe
        found: list[tuple[Tensor, Recipe | None, bool]] = []
        for x in plan.inputs:
            if x is out:  # the function has written into its input
                if before is None:
                    return
                found.append((x, before, False))
                continue
            if not _is_plain(x):
                return
            known, copied = self._recipe_of(x), False
            if known is None:
                held = bool(self._holders(x))
                copied = _may_change(x, held)
                if copied:
                    more += x.numel() * x.element_size()
                elif not held:
                    more += x.untyped_storage().nbytes()
            found.append((x, known, copied))
        if more >= size:
            return
        inputs = [_input(*one) for one in found]
        recipe = Recipe(out, plan.compute, inputs, plan.keep)
        if recipe.depth > _LONGEST_CHAIN:
            return
        address = _address(out)
        owner = weakref.ref(out, partial(self._forget, address))
        self._known[address] = (owner, version(out), recipe)
        for kept in self._holders(out):
            # A view of another dtype may have been saved before the function wrote into `out`.
            if kept.tensor is not None and kept.version == version(out):
                kept.give_up(kept.tensor, recipe)

    def _forget(self, address: int, owner: "weakref.ref[Tensor]") -> None:
        """Release the recipe of a tensor that is gone, unless a node has saved it."""
        known = self._known.get(address)
        if known is not None and known[0] is owner:
            del self._known[address]

    def _recipe_of(self, x: Tensor) -> Recipe | None:
        """The recipe of the current values of `x`, a plain tensor."""
        address = _address(x)
        known = self._known.get(address)
        if known is None:
            return None
        reference, then, recipe = known
        owner = reference()  # while it lives at this address, no other tensor has its memory
        there = owner is not None and _address(owner) == address
        return recipe if there and then == version(x) and recipe.dtype == x.dtype else None

    def _holders(self, x: Tensor) -> list[Kept]:
        """Everything that nodes of the graph keep of the storage of `x`."""
        address = _address(x)
        found = [kept() for kept in self._kept.get(address, ())]
        return [
            kept
            for kept in found
            if kept is not None and kept.tensor is not None and _address(kept.tensor) == address
        ]


def recomputation(
    rules: Mapping[Any, Rule] | None, x: Tensor, *, least: int = 0
) -> "AbstractContextManager[object, bool | None]":
    """`Recomputation` around a module called with `x`, if there are rules and it is possible.

    Below `least` elements nothing is recomputed.
    """
    if rules is None or not can_recompute(x) or x.numel() < least:
        return nullcontext()
    return Recomputation(rules)


def can_recompute(x: Tensor) -> bool:
    """Whether we may decide what a module called with `x` keeps.

    We may not if no gradients are needed, if code is compiled, recorded or transformed, or if
    something else decides, such as torch's checkpoint.
    """
    return (
        has_memory(x)
        and torch.is_grad_enabled()
        and saved_tensor_hooks_allowed()
        and saved_tensor_hooks() is None
    )


def _input(x: Tensor, recipe: Recipe | None, copied: bool) -> Input:
    """Where another recipe finds a tensor: in its own recipe, or kept, as a copy or itself."""
    if recipe is not None:
        return Input(recipe, View.of(x))
    own = x.detach()
    return Input(Kept(own.clone() if copied else own))


def _may_change(x: Tensor, held: bool) -> bool:
    """Whether a tensor may have other values, or no memory, when a recipe is followed.

    Torch itself checks what it has saved (`held`), except sharded parameters, which have memory
    only while their own module runs.
    """
    whole = base(x)
    return whole.is_leaf and (isinstance(whole, nn.Parameter) or not held)


def _is_plain(x: Any) -> bool:
    """Whether `x` is a tensor whose own storage holds its values."""
    return (
        type(x) in _KINDS
        and x.layout is torch.strided
        and not is_wrapped(x)
        and not (x.is_nested or x.is_conj() or x.is_neg())
        and x.numel() > 0
    )


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
