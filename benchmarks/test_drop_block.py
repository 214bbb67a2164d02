"""What DropBlock costs in time and memory, beside other libraries.

The method, and how to run it: README.md beside this file.
"""

import math
import statistics
import time

import pytest
import torch
from held import bytes_held, bytes_saved
from peers import CONTENDERS, FLOOR, OURS
from torch import Tensor

P, BLOCK = 0.15, 7  # the RSAN paper's, for DRIVE

# Four levels of RSAN on DRIVE, then smaller maps, as in an image classifier.
SHAPES = [
    (2, 16, 592, 592),
    (2, 32, 296, 296),
    (2, 64, 148, 148),
    (2, 128, 74, 74),
    (8, 64, 56, 56),
    (8, 256, 14, 14),
    (1, 8, 7, 7),
]
PASSES = ["forward", "forward+backward"]
COMPILED = [(2, 16, 592, 592), (8, 64, 56, 56)]  # a compilation takes up to half a minute
SWEPT = (2, 16, 96, 96)
BLOCKS, RATES = [1, 2, 3, 5, 7, 11, 15], [0.01, 0.05, 0.15, 0.3, 0.5]
BY_NAME = {contender.name: contender for contender in CONTENDERS}


def name_of(shape):
    return "x".join(map(str, shape))


def seconds_of(function) -> float:
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    """A GPU works on after a call has returned."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def function_of(drop, passes, x: Tensor, p: float, block: int):
    """One call, as in a training step: what is needed for a backward pass is always kept."""
    if passes == "forward":
        return lambda: drop(x, p, block)
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(drop(x, p, block), x, grad)


def measure(benchmark, drop, shape, passes, *, p=P, block=BLOCK, seconds=1.5):
    """Time `drop` and, in turn with it, the floor.

    Both meet the same moods of the machine, so that the ratio of the two times of a round is
    steadier than either.
    """
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    call, floor = (function_of(f, passes, x, p, block) for f in (drop, FLOOR.drop))
    # Enough calls in a round that the clock's own cost is nothing.
    calls = max(1, min(20, 100_000 // math.prod(shape)))
    floors = []

    def repeat(function):
        for _ in range(calls):
            function()
        wait()

    call()  # compiles, fills caches
    once = seconds_of(lambda: repeat(call)) + seconds_of(lambda: repeat(floor))
    rounds = max(5, min(31, int(seconds / once)))
    benchmark.pedantic(
        repeat,
        (call,),
        setup=lambda: floors.append(seconds_of(lambda: repeat(floor))),
        rounds=rounds,
        warmup_rounds=1,
    )
    info = {"shape": shape, "passes": passes, "p": p, "block": block, "rounds": rounds}
    if passes != "forward":
        info["bytes_held"] = bytes_held(x, drop(x, p, block))
        info["bytes_saved"] = bytes_saved(lambda x: drop(x, p, block), x)
    if benchmark.enabled:
        times = benchmark.stats.stats.data
        floors = floors[-rounds:]  # the first belong to the warm-up
        ratios = [t / f for t, f in zip(times, floors, strict=True)]
        info["seconds"] = statistics.median(times) / calls
        info["floor_seconds"] = statistics.median(floors) / calls
        info["ratio"] = statistics.median(ratios)
        info["ratio_of_fastest"] = min(times) / min(floors)
        info["ratio_quartiles"] = statistics.quantiles(ratios, n=4)[::2]
    benchmark.extra_info.update(info)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_level(benchmark, shape, passes, name):
    contender = BY_NAME[name]
    if contender.missing:
        pytest.skip(contender.missing)
    benchmark.group = f"{name_of(shape)} {passes}"
    benchmark.extra_info.update(table="level", name=name, mask=contender.mask)
    measure(benchmark, contender.drop, shape, passes)


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
    measure(benchmark, contender.drop, SWEPT, "forward+backward", p=p, block=block, seconds=0.3)


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
    measure(benchmark, compiled_drop if compiled else drop, shape, passes)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("x * 2.", 0, 8), ("F.dropout", 800, 3200), (OURS, 8, 8)],
)
def test_bytes_are_counted(name, least, most):
    """The floor holds its factor, dropout a mask of one to four bytes an element, ours a seed."""
    x = torch.randn(2, 4, 10, 10, requires_grad=True)
    drop = BY_NAME[name].drop
    assert least <= bytes_held(x, drop(x, P, BLOCK)) <= most
    assert bytes_saved(lambda x: drop(x, P, BLOCK), x) <= bytes_held(x, drop(x, P, BLOCK))


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
    assert bytes_held(x, Hides.apply(x)) == 400
    assert bytes_saved(Hides.apply, x) == 0
