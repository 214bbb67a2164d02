"""What the attention layers cost in time and memory, beside other libraries'.

The method, and how to run it: README.md beside this file.
"""

import pytest
import torch
from attention_peers import CONTENDERS, GATE, parameters
from held import bytes_held
from measure import PASSES, SHAPES, call_of, measure, name_of

from torchattn_blocks.retina import keep_freed_memory

# As the command `train` does. Whether glibc returns memory to the system depends on what ran before
# in the process, and doubles or halves the time of layer and floor alike.
keep_freed_memory()

BY_NAME = {f"{contender.kind}: {contender.name}": contender for contender in CONTENDERS}


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_layer(benchmark, record_property, shape, passes, name):
    contender = BY_NAME[name]
    about = {"kind": contender.kind, "name": contender.name, "norm": contender.norm}
    if contender.missing:
        pytest.skip(contender.missing)
    if failure := contender.failure(shape[1]):
        record_property("failure", about | {"shape": shape, "passes": passes, "failure": failure})
        pytest.skip(f"fails: {failure}")
    torch.manual_seed(0)
    layer = contender.build(shape[1])
    *gates, x = contender.inputs(shape)
    weights = list(layer.parameters())
    benchmark.group = f"{contender.kind}, {name_of(shape)} {passes}"
    benchmark.extra_info.update(about, ours=contender.ours, parameters=parameters(layer))
    call = call_of(lambda: layer(*gates, x), passes, x, *gates, *weights)
    measure(benchmark, call, passes, x, seconds=0.5, least=7)
    if passes != "forward":
        held = bytes_held(layer(*gates, x), *gates, x, *weights, *layer.buffers())
        benchmark.extra_info["held"] = held / x.untyped_storage().nbytes()


@pytest.mark.parametrize("name", BY_NAME)
def test_layers_of_a_kind_do_the_same(name):
    """With the same weights, which all of them keep in the same order, the same comes out."""
    contender = BY_NAME[name]
    ours = {(c.kind, c.norm): c for c in CONTENDERS if c.ours}
    same = ours.get((contender.kind, contender.norm))
    if contender.missing or not same:
        pytest.skip(contender.missing or "ours has no batch normalisation")
    layer, own = contender.build(32), same.build(32)
    for weight, our_weight in zip(layer.parameters(), own.parameters(), strict=True):
        mean_first = contender.library == "timm" and weight.shape == (1, 2, 7, 7)
        source = our_weight.flip(1) if mean_first else our_weight
        weight.data = source.detach().clone().view_as(weight)
    inputs = contender.inputs((2, 32, 9, 9))
    torch.testing.assert_close(layer(*inputs), own(*inputs))


def test_a_failure_is_told():
    scse = BY_NAME["scSE: smp"]
    if scse.missing:
        pytest.skip(scse.missing)
    assert "Error" in scse.failure(8)
    assert scse.failure(16) == ""


def test_the_gate_alone_has_two_inputs():
    assert {c.kind for c in CONTENDERS if len(c.inputs((1, 1, 1, 1))) == 2} == {GATE}


def test_weights_are_not_counted_as_held():
    layer = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.BatchNorm2d(4))
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    given = [x, *layer.parameters(), *layer.buffers()]
    between, statistics = 2 * 4 * 5 * 5 * 4, 2 * 4 * 4  # float32
    assert bytes_held(layer(x), *given) == between + statistics
    assert bytes_held(layer(x), x) > between + statistics
