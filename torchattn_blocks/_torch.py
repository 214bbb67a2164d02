"""All that this package uses of torch and torch does not promise to keep, gathered in one file.

When a new release of torch moves one of these names, mend it here. Each says what to do without
it. `tests/test_torch.py` calls each, and finds private names of torch elsewhere. One must stand
elsewhere: `surgery/_insertion.py` overrides `_load_from_state_dict`, as torch's own layers do.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Could be `torch.is_tensor(x) and hasattr(x, "fake_mode")`.
from torch._subclasses.fake_tensor import FakeTensor as FakeTensor
from torch.autograd import forward_ad

# The bases of torch's layers. Each could be a tuple of the layers that derive from it.
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.batchnorm import _NormBase as BatchOrInstanceNorm
from torch.nn.modules.conv import _ConvNd as Convolution

# `Dropping` derives from it, too, and could derive from `nn.Dropout`.
from torch.nn.modules.dropout import _DropoutNd as Dropout

# What `load_state_dict` returns; `typing.Any` would do.
from torch.nn.modules.module import _IncompatibleKeys as IncompatibleKeys
from torch.utils._python_dispatch import _disable_current_modes

__all__ = [
    "BatchNorm",
    "BatchOrInstanceNorm",
    "Convolution",
    "Dropout",
    "FakeTensor",
    "IncompatibleKeys",
]

# --- Names of children that wrappers give to what they wrap. If torch renames one, state the new.

COMPILED = "_orig_mod"  # by torch.compile
CHECKPOINTED = "_checkpoint_wrapped_module"  # by torch's activation checkpointing

# --- The tables of a module. Without them, read `vars(module)` for the dictionary in which torch
# keeps the same now. `named_children()` does not do: it leaves out what stands there twice, or is
# None.


def children(module: nn.Module) -> dict[str, nn.Module | None]:
    """The children by name, in order."""
    return module._modules


def parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The parameters of the module itself."""
    return module._parameters


def buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The buffers of the module itself."""
    return module._buffers


# What `surgery` moves from a module to what stands in its place, and back. Without one of these
# names, leave it out: hooks of that kind then stay where they are, and `undo` may lose them.
TABLES = ("_parameters", "_buffers", "_modules")
# What every module has, and holds no other module. Without `vars` of a new module, list the names.
WITHOUT_MODULES = frozenset(vars(nn.Module())) - {"_modules"}
FORWARD_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
OTHER_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def forward_hooks(module: nn.Module) -> dict[int, Any]:
    """The forward hooks of a module. Without it, keep the handles of hooks in `surgery`."""
    return module._forward_hooks


def is_hooked(module: nn.Module) -> bool:
    """Whether somebody hooks the calls of a module. If it cannot be known: True is always safe."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def load_hooks(module: nn.Module) -> dict[int, Any]:
    """Hooks that run after loading. Without it, keep the handles of those that `surgery` sets."""
    return module._load_state_dict_post_hooks


def hand_on_kind_of_backward_hooks(source: nn.Module, to: nn.Module) -> None:
    """Note at `to` whether backward hooks are full ones, as it is noted at `source`.

    Without it: leave it out. Torch may then let both kinds be mixed at one module.
    """
    if to._is_full_backward_hook is None:
        to._is_full_backward_hook = source._is_full_backward_hook


def is_compiled(module: nn.Module) -> bool:
    """Whether it is what torch.compile returns, or `compile()` was called on it.

    Without the second: leave it out. Inserting layers then has no effect on compiled calls.
    """
    return hasattr(module, COMPILED) or module._compiled_call_impl is not None


def move(module: nn.Module, moved: Any) -> None:
    """Apply a function to the module's own tensors, as `Module.to` does.

    Without it: set `parameter.data`, and buffers, one by one.
    """
    module._apply(moved, recurse=False)  # type: ignore[no-untyped-call]


def metadata_being_loaded(depth: int) -> dict[str, Any] | None:
    """What the state dict that torch is loading says of modules beside their entries.

    `depth` counts the calls from torch's function to the caller of this one. Torch tells a module
    only what is said of its own name; all of it is a variable of torch's. Without it: return None.
    Modules that got a longer name then load new state dicts as if they were old ones.
    """
    load = sys._getframe(depth + 1)
    metadata = load.f_locals.get("metadata")
    of_torch = load.f_code.co_filename == nn.modules.module.__file__
    return metadata if of_torch and isinstance(metadata, dict) else None


def set_metadata(entries: OrderedDict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Say of a state dict what torch's own say beside their entries.

    Without it: leave it out, with the same effect as `metadata_being_loaded`.
    """
    setattr(entries, "_metadata", metadata)  # noqa: B010 (for mypy)


# In the metadata of a module: whether loading replaces tensors. Without it: False.
ASSIGN = "assign_to_params_buffers"

# --- What kind of code runs.


def is_functional(x: Tensor) -> bool:
    """Whether torch.export or AOTAutograd follows `x`. Without it: False, and run the tests."""
    return torch._is_functional_tensor(x)


def is_transformed() -> bool:
    """Whether a transform of `torch.func` or the forward mode is at work.

    For the second, `forward_ad.unpack_dual(x).tangent is not None` is public, and asks one tensor.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_wrapped(x: Tensor) -> bool:
    """Whether a transform of `torch.func` holds `x`. Without it: `is_transformed` is stricter."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x)


def is_watched(x: Tensor) -> bool:
    """Whether somebody traces or counts operators, or `x` turns out to have no memory to paint in.

    Examples are fake tensors and autograd's ``is_grads_batched``. If it cannot be known: True
    is always safe, and slower.
    """
    modes = torch._C._len_torch_dispatch_stack()  # of this thread
    return modes > 0 or torch._C._functorch.is_legacy_batchedtensor(x)


def is_dynamo_loaded() -> bool:
    """Whether anything can have been compiled. If it cannot be known: True is always safe."""
    return "torch._dynamo" in sys.modules


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Tensors made in it are ordinary, even under fake tensors or in a transform.

    Without it: leave out what is gone. A `DropBlock2d` made there then fails outside.
    """
    with torch.inference_mode(False), _disable_current_modes(), torch._C._DisableFuncTorch():
        yield


# --- Autograd.


def is_in_backward() -> bool:
    """Whether this thread runs a backward pass.

    Without it: False. `report` then counts calls twice that checkpointing repeats.
    """
    return torch._C._current_graph_task_id() != -1


def version(x: Tensor) -> int:
    """How often `x` was written into.

    Without it: `memory_efficient` must give up recipes, since gradients would be silently wrong
    where something is written in place.
    """
    return x._version


def is_view(x: Tensor) -> bool:
    """Whether `x` is a view of another tensor. If it cannot be known: True is safe, and copies."""
    return x._is_view()


def base(x: Tensor) -> Tensor:
    """The tensor that `x` is a view of, or itself. Without it: copy, as for a leaf."""
    return x._base if x._is_view() and x._base is not None else x


def saved_tensor_hooks() -> Any:
    """The hooks, pack and unpack, that get what is saved next. None if there are none.

    Without it, `memory_efficient` cannot tell whether somebody else, such as torch's checkpoint,
    decides what is kept: a context variable of `Recomputation` would see its own alone.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


def saved_tensor_hooks_allowed() -> bool:
    """Whether hooks on what is saved may be set. Without it: try, and catch the RuntimeError."""
    return torch._C._autograd._saved_tensors_hooks_get_disabled_error_message() is None


def pooling_indices(node: Any) -> Tensor | None:
    """The indices that max-pooling has saved, from the node of its output.

    Without it: None. `memory_efficient` then keeps them.
    """
    indices = getattr(node, "_saved_result1", None)
    return indices if isinstance(indices, Tensor) else None


def batch_statistics(node: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and inverse deviation that batch normalisation has saved in training.

    Without it: None. `memory_efficient` then computes them again.
    """
    if node is None or node.name() != "NativeBatchNormBackward0":
        return None
    mean, inverse = (getattr(node, f"_saved_result{index}", None) for index in (1, 2))
    return (mean, inverse) if isinstance(mean, Tensor) and isinstance(inverse, Tensor) else None


# --- Numbers.


def has_bfloat16_on_cpu() -> bool:
    """Whether the CPU has instructions for bfloat16. Without it: ``/proc/cpuinfo`` lists them."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def lerp_all_(starts: Any, ends: Any, weight: float) -> None:
    """`Tensor.lerp_` on lists of tensors at once. Without it: a loop over them."""
    torch._foreach_lerp_(starts, ends, weight)
