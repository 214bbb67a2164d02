"""What DropBlock costs in time and memory, beside other libraries.

The method, and how to run it: README.md beside this file.
"""

import pytest
import torch
from held import bytes_held, bytes_saved
from measure import PASSES, SHAPES, call_of, measure, name_of
from peers import CONTENDERS, OURS

P, BLOCK = 0.15, 7  # the RSAN paper's, for DRIVE

COMPILED = [(2, 16, 592, 592), (8, 64, 56, 56)]  # a compilation takes up to half a minute
SWEPT = (2, 16, 96, 96)
BLOCKS, RATES = [1, 2, 3, 5, 7, 11, 15], [0.01, 0.05, 0.15, 0.3, 0.5]
BY_NAME = {contender.name: contender for contender in CONTENDERS}


def measure_drop(benchmark, drop, shape, passes, *, p=P, block=BLOCK, seconds=1.5):
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    measure(benchmark, call_of(lambda: drop(x, p, block), passes, x), passes, x, seconds=seconds)
    benchmark.extra_info.update(p=p, block=block)
    if passes != "forward":
        benchmark.extra_info["bytes_held"] = bytes_held(drop(x, p, block), x)
        benchmark.extra_info["bytes_saved"] = bytes_saved(lambda x: drop(x, p, block), x)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_level(benchmark, shape, passes, name):
    contender = BY_NAME[name]
    if contender.missing:
        pytest.skip(contender.missing)
    benchmark.group = f"{name_of(shape)} {passes}"
    benchmark.extra_info.update(table="level", name=name, mask=contender.mask)
    measure_drop(benchmark, contender.drop, shape, passes)


@pytest.mark.parametrize(
    "name", ["textbook, max-pooling", "torchvision", OURS, f"{OURS}, paper, batch"]
)
@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("block", BLOCKS)
def test_sweep(benchmark, block, p, name):
    contender = BY_NAME[name]
    if contender.missing:
        pytest.skip(contender.missing)
    if name == "torchvision" and block % 2 == 0:
        pytest.skip("torchvision takes odd blocks only")
    benchmark.group = f"sweep, block {block}, p {p}"
    benchmark.extra_info.update(table="sweep", name=name, mask=contender.mask)
    measure_drop(
        benchmark, contender.drop, SWEPT, "forward+backward", p=p, block=block, seconds=0.3
    )


# report.py runs these in a process of their own, as inductor brings its own threads.
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("shape", COMPILED, ids=name_of)
def test_compiler(benchmark, shape, passes, compiled):
    torch._dynamo.reset()
    drop = BY_NAME[OURS].drop
    compiled_drop = torch.compile(drop)
    compiled_drop(torch.randn(shape, requires_grad=True), P, BLOCK)  # also beside the eager row
    name = "torch.compile" if compiled else "eager"
    benchmark.group = f"{name_of(shape)} {passes}"
    benchmark.extra_info.update(table="compiler", name=name, mask=BY_NAME[OURS].mask)
    measure_drop(benchmark, compiled_drop if compiled else drop, shape, passes)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("x * 2.", 0, 8), ("F.dropout", 800, 3200), (OURS, 8, 8)],
)
def test_bytes_are_counted(name, least, most):
    """The floor holds its factor, dropout a mask of one to four bytes an element, ours a seed."""
    x = torch.randn(2, 4, 10, 10, requires_grad=True)
    drop = BY_NAME[name].drop
    assert least <= bytes_held(drop(x, P, BLOCK), x) <= most
    assert bytes_saved(lambda x: drop(x, P, BLOCK), x) <= bytes_held(drop(x, P, BLOCK), x)


def test_bytes_in_a_context_are_counted():
    class Hides(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mask = torch.ones(100)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = torch.randn(3, requires_grad=True)
    assert bytes_held(Hides.apply(x), x) == 400
    assert bytes_saved(Hides.apply, x) == 0
