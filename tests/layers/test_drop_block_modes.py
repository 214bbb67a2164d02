"""DropBlock in the modes that torch can be in: fake, tracing, inference, compiled, subclasses."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch._dynamo.testing
from torch._dynamo import compiled_autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode

from torchattn_blocks import DropBlock2d
from torchattn_blocks.functional import drop_block2d

# torch's own, of forward-mode automatic differentiation
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def ones(**options):
    return torch.ones(1, 4, 20, 20, **options)


def compiled(f):
    torch._dynamo.reset()
    return torch.compile(f, backend="aot_eager", fullgraph=True)


def dropped(y):
    return (y == 0).float().mean().item()


def with_fake_tensors(layer):
    with FakeTensorMode():
        layer.p = 0.6


def under_make_fx(layer):
    def set_p(x):
        layer.p = 0.6
        return layer(x)

    make_fx(set_p)(ones())


def in_inference_mode(layer):
    with torch.inference_mode():
        layer.p = 0.6


def with_another_default_device(layer):
    with torch.device("meta"):
        layer.p = 0.6


def in_a_transform(transform, layer):
    def set_p(x):
        layer.p = 0.6
        return layer(x).sum()

    transform(set_p)(ones())


only_then = pytest.mark.xfail(
    torch.__version__ < "2.13", reason="there, compiled code has the rate that it began with"
)


def in_compiled_code(layer):
    def set_p(x):
        layer.p = 0.6
        return layer(x)

    assert dropped(compiled(set_p)(ones())) > 0.4


def in_a_compiled_transform(layer):
    def set_p(x):
        layer.p = 0.6
        return layer(x).sum()

    assert dropped(compiled(torch.func.grad(set_p))(ones())) > 0.4


@pytest.mark.parametrize(
    "set_p",
    [
        with_fake_tensors,
        under_make_fx,
        in_inference_mode,
        with_another_default_device,
        partial(in_a_transform, torch.func.grad),
        partial(in_a_transform, torch.func.functionalize),
        pytest.param(in_compiled_code, marks=only_then),
        pytest.param(in_a_compiled_transform, marks=only_then),
    ],
)
def test_a_rate_set_in_any_mode_holds_outside_it(set_p):
    layer, x = DropBlock2d(0.1, 3), ones(requires_grad=True)
    set_p(layer)
    assert layer.p == 0.6
    for run in (layer, compiled(layer)):
        y = run(x)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert dropped(y) > 0.4
        assert torch.equal(grad, y.detach())
    torch.export.export(layer, (ones(),))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_a_copy_has_a_rate_of_its_own(copied):
    layer = DropBlock2d(0.1, 3)
    with FakeTensorMode():
        other = copied(layer)
    run = compiled(other)
    run(ones(requires_grad=True)).sum().backward()
    other.p = 0.6
    assert dropped(run(ones())) > 0.4
    assert layer.p == 0.1
    assert dropped(compiled(layer)(ones())) < 0.3


def test_a_compiled_function_does_not_depend_on_the_default_device():
    with torch.device("meta"):
        y = compiled(lambda x: drop_block2d(x, 0.6, 3))(ones(device="cpu"))
    assert dropped(y) > 0.4


@pytest.mark.parametrize("inplace", [False, True])
def test_a_fake_tensor_may_be_used_after_its_mode(inplace):
    with FakeTensorMode():
        x = ones()
    assert drop_block2d(x, 0.3, 3, inplace=inplace).shape == x.shape


def test_a_subclass_that_wraps_tensors_comes_back():
    y = drop_block2d(TwoTensor(ones(), 2 * ones()), 0.3, 3)
    assert isinstance(y, TwoTensor)
    assert 0.1 < dropped(y.a) < 0.5
    assert torch.equal(y.b, 2 * y.a)


class Seen(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names = [*getattr(self, "names", []), str(function)]
        return function(*args, **kwargs or {})


@pytest.mark.skipif(
    torch.__version__ < "2.13", reason="there, modes of two threads turn compilation off for good"
)
def test_a_mode_sees_the_operator_whatever_other_threads_do():
    first, second = Seen(), Seen()
    with ThreadPoolExecutor(1) as other:
        other.submit(first.__enter__).result()
        with second:
            other.submit(first.__exit__, None, None, None).result()
            drop_block2d(ones(), 0.3, 3)
    assert "torchattn_blocks.drop_block.default" in second.names


def test_compiled_autograd():
    x = ones(requires_grad=True)
    y = drop_block2d(x, 0.3, 3)
    torch._dynamo.reset()
    with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
        y.sum().backward()
    assert torch.equal(x.grad, y.detach())


not_from_outside = pytest.mark.xfail(
    torch.__version__ >= "2.14", reason="there, compiled code takes no dual numbers from outside"
)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda f: f, id="eager"),
        pytest.param(compiled, id="compiled", marks=not_from_outside),
    ],
)
def test_in_place_with_dual_numbers(run):
    x = torch.full((1, 4, 20, 20), torch.inf)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, 2 * ones())
        y = run(lambda x: drop_block2d(x, 0.3, 3, inplace=True))(dual)
        primal, tangent = forward_ad.unpack_dual(y)
    assert torch.equal(primal, x)
    assert set(x.unique().tolist()) == {0, torch.inf}
    assert torch.equal(tangent == 0, x == 0)


def test_in_place_under_vmap():
    def drop(x):
        return drop_block2d(x, 0.3, 3, inplace=True)

    x = torch.ones(2, 5, 3, 20, 20)  # mapped over its second axis
    y = torch.vmap(drop, in_dims=1, out_dims=1, randomness="different")(x)
    assert torch.equal(x, y)
    assert 0.1 < dropped(x) < 0.5
    assert not torch.equal(x[:, 0], x[:, 1])

    def drop_what_is_not_mapped(x, _):
        return drop(x)

    mapped = torch.vmap(drop_what_is_not_mapped, in_dims=(None, 0), randomness="different")
    with pytest.raises(RuntimeError, match="inplace"):  # torch's own
        mapped(ones(), torch.ones(3))
