"""Time a call as in a training step, and in turn with it the floor, ``x * 2.``."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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


def name_of(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def seconds_of(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    """A GPU works on after a call has returned."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def call_of(
    function: Callable[[], Tensor], passes: str, x: Tensor, *others: Tensor
) -> Callable[[], Any]:
    """One call, as in a training step: what is needed for a backward pass is always kept.

    The output has the shape of `x`; the gradients are those of `x` and of the `others`.
    """
    if passes == "forward":
        return function
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(function(), (x, *others), grad)


def measure(
    benchmark: Any,
    call: Callable[[], Any],
    passes: str,
    x: Tensor,
    *,
    seconds: float,
    least: int = 5,
) -> None:
    """Time `call` and, in turn with it, the floor on `x`, for some `seconds` or `least` rounds.

    Both meet the same moods of the machine, so that the ratio of the two times of a round is
    steadier than either.
    """
    floor = call_of(lambda: x * 2.0, passes, x)
    # Enough calls in a round that the clock's own cost is nothing.
    calls = max(1, min(20, 100_000 // x.numel()))
    floors = []

    def repeat(function: Callable[[], Any]) -> None:
        for _ in range(calls):
            function()
        wait()

    call()  # compiles, fills caches
    once = seconds_of(lambda: repeat(call)) + seconds_of(lambda: repeat(floor))
    rounds = max(least, min(31, int(seconds / once)))
    benchmark.pedantic(
        repeat,
        (call,),
        setup=lambda: floors.append(seconds_of(lambda: repeat(floor))),
        rounds=rounds,
        warmup_rounds=1,
    )
    benchmark.extra_info.update(shape=tuple(x.shape), passes=passes, rounds=rounds)
    if benchmark.enabled:
        times = benchmark.stats.stats.data
        floors = floors[-rounds:]  # the first belong to the warm-up
        ratios = [t / f for t, f in zip(times, floors, strict=True)]
        benchmark.extra_info.update(
            seconds=statistics.median(times) / calls,
            floor_seconds=statistics.median(floors) / calls,
            ratio=statistics.median(ratios),
            ratio_of_fastest=min(times) / min(floors),
            ratio_quartiles=statistics.quantiles(ratios, n=4)[::2],
        )
