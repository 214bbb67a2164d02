"""What torch does not promise to keep: it stands in one file, and each name still does its work.

Run this file first on a new release of torch.
"""

import ast
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.func import grad, vmap
from torch.utils.flop_counter import FlopCounterMode

import torchattn_blocks
from torchattn_blocks import _torch
from torchattn_blocks._torch import FakeTensor

# Private by their form and public by Python's documentation.
DOCUMENTED = {"_asdict", "_fields", "_replace", "_exit"}
# The only one that must stand elsewhere: torch calls it, and ours overrides it.
ELSEWHERE = {("surgery/_insertion.py", "_load_from_state_dict")}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names_of(*parts: object) -> set[str]:
    return {name for part in parts for name in dir(part) if is_private(name)}


OF_TORCH = private_names_of(nn.Module(), Tensor, torch, torch._C, torch._C._functorch, forward_ad)
OF_MODULES = private_names_of(nn.Module())  # which objects of ours may be
# Those that a wrapper, a state dict or a node of a graph has.
OF_TORCH |= {"_orig_mod", "_checkpoint_wrapped_module", "_metadata", "_saved_result"}


def names_in(node: ast.AST) -> list[str]:
    """The names by which a part of a source may reach something of torch."""
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    if isinstance(node, ast.Import):
        return [part for alias in node.names for part in alias.name.split(".")]
    if isinstance(node, ast.Attribute):
        return [node.attr] if ast.unparse(node.value) != "self" or node.attr in OF_MODULES else []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # as `getattr` takes it
        return [part for part in node.value.split(".") if part in OF_TORCH]
    return []


def names_of_ours(source: str) -> set[str]:
    """The private methods of classes, and what objects and classes are given as attributes."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            parts = [part for one in node.body for part in ast.walk(one)]
            found |= {one.name for one in parts if isinstance(one, ast.FunctionDef)}
            found |= {one.id for one in parts if isinstance(one, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def foreign(sources: Mapping[str, str]) -> list[str]:
    """Where the sources, by path, use private names that are not theirs."""
    ours = DOCUMENTED | (set().union(*map(names_of_ours, sources.values())) - OF_TORCH)
    return [
        f"{path}:{node.lineno}: {name}"  # type: ignore[attr-defined]
        for path, source in sources.items()
        for node in ast.walk(ast.parse(source))
        for name in names_in(node)
        if is_private(name) and name not in ours and (path, name) not in ELSEWHERE
    ]


def test_private_names_of_torch_stand_in_one_file() -> None:
    package = Path(torchattn_blocks.__file__).parent
    sources = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    assert sources.pop("_torch.py")
    assert foreign(sources) == []
    for offence in (
        "import torch._dynamo",
        "from torch.nn.modules.dropout import _DropoutNd",
        "from torch._subclasses import fake_tensor",
        "def f(x):\n    return x._version",
        "def f(module):\n    return module._modules['a']",
        "class A:\n    def f(self):\n        self._modules = 1",
        "def f(module):\n    return getattr(module, '_forward_hooks')",
        "def f(n):\n    return getattr(torch, '_foreach_lerp_')",
        "def f(n, i):\n    return getattr(n, f'_saved_result{i}')",
        "import sys\nloaded = 'torch._dynamo' in sys.modules",
    ):
        assert len(foreign({**sources, "a.py": offence})) == 1, offence
    assert foreign({"a.py": "class A:\n    def f(self):\n        self._a = self._a"}) == []


def test_isinstance_is_given_tuples() -> None:
    """In compiled code torch 2.8 does not know unions, ``int | float``."""

    def unions(source: str) -> list[int]:  # those that are written where they are used
        return [
            node.lineno
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("isinstance", "issubclass")
            and isinstance(node.args[1], ast.BinOp)
        ]

    package = Path(torchattn_blocks.__file__).parent
    assert {p.name: u for p in package.rglob("*.py") if (u := unions(p.read_text()))} == {}
    assert unions("isinstance(1, int | float)") == [1]


def test_each_name_says_what_to_do_without_it() -> None:
    source = Path(_torch.__file__).read_text()
    told = re.compile(r"Without (it|the second)|If it cannot be known|is public")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            assert told.search(ast.get_docstring(node) or "") or node.name in TABLES, node.name


TABLES = {"children", "parameters", "buffers"}  # the comment above them says it for all


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(2))


def test_the_tables_of_a_module_are_its_own() -> None:
    module = Numbers()
    assert [*_torch.children(module)] == ["inner"]
    assert [*_torch.parameters(module)] == ["weight"]
    assert [*_torch.buffers(module)] == ["mean"]
    _torch.children(module)["inner"] = other = nn.Identity()
    assert module.inner is other


def test_hooks_of_a_module_are_known() -> None:
    module = nn.Linear(2, 2)
    assert not _torch.is_hooked(module)
    for register in (
        module.register_forward_hook,
        module.register_forward_pre_hook,
        module.register_full_backward_hook,
    ):
        handle = register(lambda *args: None)
        assert _torch.is_hooked(module), register
        handle.remove()
    handle = module.register_forward_hook(print)
    assert [*_torch.forward_hooks(module).values()] == [print]
    module.register_load_state_dict_post_hook(print)  # type: ignore[no-untyped-call]
    assert [*_torch.load_hooks(module).values()] == [print]
    for name in (*_torch.TABLES, *_torch.FORWARD_HOOKS, *_torch.OTHER_HOOKS):
        assert isinstance(getattr(module, name), dict)
    tables = {name for name in vars(module) if "_hooks" in name and "state_dict" not in name}
    assert {*_torch.FORWARD_HOOKS, *_torch.OTHER_HOOKS} == tables
    assert {*vars(nn.Identity())} - _torch.WITHOUT_MODULES == {"_modules"}


@pytest.mark.parametrize("full", [True, False])
def test_the_kind_of_backward_hooks_goes_along(full: bool) -> None:
    source, to = nn.Linear(2, 2), nn.Linear(2, 2)
    register = source.register_full_backward_hook if full else source.register_backward_hook
    register(lambda *args: None)
    _torch.hand_on_kind_of_backward_hooks(source, to)
    other = to.register_backward_hook if full else to.register_full_backward_hook
    with pytest.raises(RuntimeError, match="Cannot use both"):
        other(lambda *args: None)


def test_what_is_compiled_is_known() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    assert not _torch.is_compiled(module)
    compiled = torch.compile(module, backend="eager")
    assert _torch.is_compiled(compiled)
    assert _torch.children(compiled) == {_torch.COMPILED: module}
    assert not _torch.is_compiled(module)
    module.compile(backend="eager")
    assert _torch.is_compiled(module)
    assert _torch.is_dynamo_loaded()
    code = "from torchattn_blocks import _torch; print(_torch.is_dynamo_loaded())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_wrapper_of_checkpointing_names_its_child() -> None:
    module = nn.Linear(2, 2)
    assert _torch.children(checkpoint_wrapper(module)) == {_torch.CHECKPOINTED: module}


def test_a_module_moves_its_own_tensors() -> None:
    module = Numbers()
    _torch.move(module, Tensor.double)
    assert module.weight.dtype == module.mean.dtype == torch.float64
    assert module.inner.weight.dtype == torch.float32


class Loaded(nn.Module):
    seen: Any = None

    def _load_from_state_dict(self, *args: Any) -> None:
        metadata = {"": {"version": 0}}  # a local variable of this name, in no function of torch
        assert metadata
        self.seen = self.read(0), self.read(1), _torch.metadata_being_loaded(1)
        super()._load_from_state_dict(*args)

    def read(self, more: int) -> Any:
        return _torch.metadata_being_loaded(1 + more)


def test_what_is_said_of_a_state_dict_reaches_a_module() -> None:
    model = nn.Sequential(Loaded(), nn.BatchNorm2d(2))
    entries = OrderedDict(model.state_dict())
    metadata = {"": {"version": 1}, "0": {"version": 5}, "1": {"version": 2}}
    _torch.set_metadata(entries, metadata)
    model.load_state_dict(entries)
    own, outer, same = model[0].seen
    assert own is None  # the module's method is no function of torch
    assert same == outer == metadata


def fake(x: Tensor) -> FakeTensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode().from_tensor(x)  # type: ignore[no-untyped-call]


def test_it_is_known_what_kind_of_code_runs() -> None:
    x = torch.ones(2, 3)
    seen: list[tuple[bool, bool, bool]] = []

    def look(x: Tensor) -> Tensor:
        seen.append((_torch.is_transformed(), _torch.is_wrapped(x), _torch.is_watched(x)))
        return x.sum()

    look(x)
    assert seen.pop() == (False, False, False)
    vmap(look)(x)
    assert seen.pop()[:2] == (True, True)
    grad(look)(x)
    assert seen.pop()[:2] == (True, True)
    with forward_ad.dual_level():
        look(x)
    assert seen.pop() == (True, False, False)
    with FlopCounterMode(display=False):
        look(x)
    assert seen.pop() == (False, False, True)
    leaf = x.clone().requires_grad_()

    class Look(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            look(gradient)
            return gradient

    out = Look.apply(leaf)  # type: ignore[no-untyped-call]
    torch.autograd.grad(out, leaf, torch.ones(4, 2, 3), is_grads_batched=True)
    assert seen.pop() == (False, False, True)
    assert isinstance(fake(x), FakeTensor)
    assert not isinstance(x, FakeTensor)


def test_functional_tensors_are_known() -> None:
    x = torch.ones(2)
    assert not _torch.is_functional(x)
    assert _torch.is_functional(torch._to_functional_tensor(x))


def test_ordinary_tensors_are_made_anywhere() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    made: list[Tensor] = []

    def make(x: Tensor) -> Tensor:
        with _torch.ordinary_tensors():
            made.append(torch.ones(1))
        return x

    with torch.inference_mode():
        make(torch.ones(1))
    with FakeTensorMode():
        make(torch.ones(1))
    vmap(make)(torch.ones(2))
    grad(make)(torch.tensor(1.0))
    for x in made:
        assert type(x) is Tensor
        assert (x.is_inference(), _torch.is_wrapped(x)) == (False, False)
        assert x.item() == 1
    assert len(made) == 4


def test_a_backward_pass_is_known() -> None:
    x = torch.ones(2, requires_grad=True)
    seen: list[bool] = []
    x.register_hook(lambda gradient: seen.append(_torch.is_in_backward()))
    seen.append(_torch.is_in_backward())
    x.sum().backward()
    assert seen == [False, True]


def test_versions_and_views_are_known() -> None:
    x = torch.ones(2, 2)
    view = x[0]
    assert (_torch.version(x), _torch.is_view(x), _torch.is_view(view)) == (0, False, True)
    assert _torch.base(view) is x is _torch.base(x)
    view.zero_()
    assert _torch.version(x) == _torch.version(view) == 1


def test_hooks_on_saved_tensors_are_known() -> None:
    def pack(x: Tensor) -> Tensor:
        return x

    assert _torch.saved_tensor_hooks() is None
    with saved_tensors_hooks(pack, pack):
        assert _torch.saved_tensor_hooks() == (pack, pack)
    assert _torch.saved_tensor_hooks_allowed()
    with disable_saved_tensors_hooks("not now"):
        assert not _torch.saved_tensor_hooks_allowed()


def test_saved_results_are_read() -> None:
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    out = nn.functional.batch_norm(x, None, None, training=True)
    known = _torch.batch_statistics(out.grad_fn)
    assert known is not None
    variance = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(known, (x.mean((0, 2, 3)), (variance + 1e-5).rsqrt()))
    pooled, indices = nn.functional.max_pool2d(x, 2, return_indices=True)
    found = _torch.pooling_indices(pooled.grad_fn)
    assert found is not None
    assert torch.equal(found, indices)
    for node in ((x + 1).grad_fn, None):
        assert _torch.pooling_indices(node) is None
        assert _torch.batch_statistics(node) is None
    normalised = nn.functional.layer_norm(x, x.shape[1:])  # it saves two results, too
    assert _torch.batch_statistics(normalised.grad_fn) is None


def test_the_bases_of_layers_are_theirs() -> None:
    assert issubclass(nn.AlphaDropout, _torch.Dropout)
    assert issubclass(nn.Dropout3d, _torch.Dropout)
    assert issubclass(nn.SyncBatchNorm, _torch.BatchNorm)
    assert issubclass(nn.InstanceNorm1d, _torch.BatchOrInstanceNorm)
    assert not issubclass(nn.InstanceNorm1d, _torch.BatchNorm)
    assert issubclass(nn.BatchNorm3d, _torch.BatchOrInstanceNorm)
    assert issubclass(nn.ConvTranspose2d, _torch.Convolution)
    found = nn.Linear(1, 1).load_state_dict({}, strict=False)
    assert isinstance(found, _torch.IncompatibleKeys)


def test_tensors_move_at_once() -> None:
    starts, ends = [torch.zeros(2), torch.ones(1)], [torch.ones(2), torch.ones(1) * 3]
    _torch.lerp_all_(starts, ends, 0.25)
    assert [x.tolist() for x in starts] == [[0.25, 0.25], [1.5]]


def test_bfloat16_is_what_the_cpu_lists() -> None:
    cpus = Path("/proc/cpuinfo")
    if not cpus.exists():
        pytest.skip("there is no /proc/cpuinfo here")
    flags = set(cpus.read_text().split())
    assert _torch.has_bfloat16_on_cpu() == bool(flags & {"avx512_bf16", "amx_tile"})
