"""Keep less for the backward pass: what is cheap to compute again is computed again.

Autograd saves the input of a normalisation and the output of the activation behind it, though the
second follows from the first. Inside `Recomputation` each saved tensor goes into a `Kept`. When a
function of `_recipes.py` has run, a `Recipe` for its output is made, if the inputs are kept anyway
or have recipes themselves. Whatever saves that output saves its recipe.

Modules are called as they are, once: a `TorchFunctionMode` sees the functions that they call, with
their arguments. What it does not know is saved as always.
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

# A chain of recipes that all start at what is kept. In RSAN the longest is: product, sum,
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
    """What a node of the graph saved: a tensor, or a recipe for its storage."""

    __slots__ = ("__weakref__", "recipe", "tensor", "version", "view")

    def __init__(self, tensor: Tensor) -> None:
        # A leaf must come back as it was. Another tensor would hold the graph that holds this.
        self.tensor: Tensor | None = tensor if tensor.is_leaf else tensor.detach()
        self.version = version(tensor)
        self.recipe: Recipe | None = None
        self.view: View | None = None

    def give_up(self, tensor: Tensor, recipe: "Recipe") -> None:
        """Hold the recipe of the tensor in its place."""
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
        """The tensor that is kept. Torch's own check of changes ends where hooks begin."""
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
    """An input of a recipe: what is kept, or a view of what another recipe computes."""

    source: "Kept | Recipe"
    view: View | None = None


class Value(NamedTuple):
    """An input's tensor. Nobody else holds it if it is `fresh`: it may be written into."""

    tensor: Tensor
    fresh: bool


Compute = Callable[[Sequence[Value]], Tensor]


class Recipe:
    """How to compute a tensor again.

    It is computed when first asked for, and given up after the last of those who hold the recipe
    has asked.
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
        """The tensor, for another recipe. With `keep` it stays for holders that have not asked."""
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
    """What a function's rule says: from which tensors its output is computed again, and how.

    Attributes:
        inputs: Tensors that the output follows from.
        compute: The output, from the values of the inputs.
        keep: Whether values of inputs that others will ask for soon are kept until then.
        output: What is computed, if it is not the function's output.
    """

    inputs: Sequence[Tensor]
    compute: Compute
    keep: bool = True
    output: Tensor | None = None


Rule = Callable[[Tensor, tuple[Any, ...], dict[str, Any]], Plan | None]


class Recomputation(TorchFunctionMode):
    """Inside it, outputs of the functions that `rules` knows are computed again in backward."""

    def __init__(self, rules: Mapping[Any, Rule]) -> None:
        super().__init__()
        self._rules = rules
        self._pack_hook = self._pack  # one object, to be known again
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
        if torch.compiler.is_compiling():  # a part of the network is compiled code
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
        """Whether what is saved now comes here: a part of a network may have hooks of its own."""
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

        `before` is the recipe of what the function's first argument was, before the call.
        """
        size = out.numel() * out.element_size()
        if out.untyped_storage().nbytes() != size:
            return
        more = 0  # bytes that are kept for this recipe alone
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
        """Let go of the recipe of a tensor that is gone, unless somebody has saved it."""
        known = self._known.get(address)
        if known is not None and known[0] is owner:
            del self._known[address]

    def _recipe_of(self, x: Tensor) -> Recipe | None:
        """The recipe of what is stored in `x`, a plain tensor, now."""
        address = _address(x)
        known = self._known.get(address)
        if known is None:
            return None
        reference, then, recipe = known
        owner = reference()  # while it lives, and lives there, its memory is nobody else's
        there = owner is not None and _address(owner) == address
        return recipe if there and then == version(x) and recipe.dtype == x.dtype else None

    def _holders(self, x: Tensor) -> list[Kept]:
        """All that nodes of the graph keep of the storage of `x`."""
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
    """`Recomputation` around a module called with `x`, if there are rules and it can be done.

    It is not done for less than `least` elements.
    """
    if rules is None or not can_recompute(x) or x.numel() < least:
        return nullcontext()
    return Recomputation(rules)


def can_recompute(x: Tensor) -> bool:
    """Whether what a module called with `x` keeps is ours to decide.

    It is not if no gradients are asked for, code is compiled, recorded or transformed, or somebody
    else decides, such as torch's checkpoint.
    """
    return (
        has_memory(x)
        and torch.is_grad_enabled()
        and saved_tensor_hooks_allowed()
        and saved_tensor_hooks() is None
    )


def _input(x: Tensor, recipe: Recipe | None, copied: bool) -> Input:
    """Where another recipe will find a tensor: in its own recipe, or kept, as a copy or itself."""
    if recipe is not None:
        return Input(recipe, View.of(x))
    own = x.detach()
    return Input(Kept(own.clone() if copied else own))


def _may_change(x: Tensor, held: bool) -> bool:
    """Whether a tensor may have other values, or no memory, when a recipe is followed.

    Torch keeps watch over what it has saved itself (`held`), but for parameters that are shared
    out, which have memory only while their own module runs.
    """
    whole = base(x)
    return whole.is_leaf and (isinstance(whole, nn.Parameter) or not held)


def _is_plain(x: Any) -> bool:
    """Whether it is a tensor whose values are those in its own storage."""
    return (
        type(x) in _KINDS
        and x.layout is torch.strided
        and not is_wrapped(x)
        and not (x.is_nested or x.is_conj() or x.is_neg())
        and x.numel() > 0
    )


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
