"""DropSchedule: the rates, what it saves and how it resumes, and its place in a training step."""

import copy
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from accelerate import Accelerator
from torch import nn
from torch.utils.checkpoint import checkpoint

from torchattn_blocks import DropBlock1d, DropBlock2d, DropBlock3d, DropSchedule


def model(*rates):
    """Convolutions and a DropBlock for each rate."""
    layers = [[nn.Conv2d(2, 2, 3, padding=1), DropBlock2d(p, 3)] for p in rates]
    return nn.Sequential(*[layer for pair in layers for layer in pair])


def rates_of(schedule, steps):
    rates = [schedule.get_last_p()]
    for _ in range(steps):
        schedule.step()
        rates.append(schedule.get_last_p())
    return rates


def through_pickle(net):
    return pickle.loads(pickle.dumps(net))


def stored(state):
    """The state after a file that may hold nothing but plain data."""
    assert json.loads(json.dumps(state)) == state
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [0.1, 0.15, 0.2, 0.25, 0.3, 0.3, 0.3]),
        ("cosine", [0.1, 0.2 - 0.05 * 2**0.5, 0.2, 0.2 + 0.05 * 2**0.5, 0.3, 0.3, 0.3]),
        (lambda t: t**2, [0.1, 0.1125, 0.15, 0.2125, 0.3, 0.3, 0.3]),
        (lambda t: (1 + t) / 4, [0.15, 0.1625, 0.175, 0.1875, 0.2, 0.2, 0.2]),
    ],
    ids=["linear", "cosine", "square", "part of the way"],
)
def test_rates(shape, expected):
    rates = rates_of(DropSchedule(model(0.5, 0.6), 0.1, 0.3, 4, shape), 6)
    for rate, both in zip(expected, rates, strict=True):
        assert both == pytest.approx([rate, rate])


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(("start", "stop"), [(0.7, 0.1), (0.1, 0.7), (0.0, 1 / 3), (1, 0.3)])
def test_ends_are_exact_and_all_between_lies_between(shape, start, stop):
    rates = rates_of(DropSchedule(model(0.5), start, stop, 37, shape), 40)
    assert rates[0] == [start]
    assert rates[37:] == [[stop]] * 4
    assert all(min(start, stop) < rate < max(start, stop) for (rate,) in rates[1:37])
    assert rates == sorted(rates, reverse=stop < start)


def test_without_stop_each_layer_ends_at_its_own_rate():
    rates = rates_of(DropSchedule(model(0.1, 0.3, 0.0), 0.2, None, 2), 3)
    expected = [[0.2, 0.2, 0.2], [0.15, 0.25, 0.1], [0.1, 0.3, 0.0], [0.1, 0.3, 0.0]]
    np.testing.assert_allclose(rates, expected)
    assert rates[2] == [0.1, 0.3, 0.0]


@pytest.mark.parametrize("copied", [lambda net: net, copy.deepcopy, through_pickle])
def test_a_second_schedule_ends_where_the_first_was_to_end(copied):
    net = model(0.1, 0.3)
    for steps in (0, 3, 20):  # made and left, interrupted, finished
        net = copied(net)
        rates_of(DropSchedule(net, 0.0, None, 10), steps)
    assert rates_of(DropSchedule(net, 0.0, None, 2), 2)[-1] == [0.1, 0.3]
    rates_of(DropSchedule(net, 0.2, 0.5, 2), 2)  # a given end is not the layers' own rate
    assert rates_of(DropSchedule(net, 0.0, None, 1), 1)[-1] == [0.1, 0.3]
    net[1].p = 0.25
    schedule = DropSchedule(net, 0.0, None, 2)
    assert (schedule.get_last_p(), net[1].own_p) == ([0.0, 0.0], 0.25)
    assert rates_of(schedule, 2)[-1] == [0.25, 0.3]
    assert not any("own" in key for key in net.state_dict())


def test_only_the_picked_layers_change():
    net, seen = model(0.1, 0.2, 0.3), []

    def where(name, layer):
        seen.append((name, layer))
        return layer.p > 0.1 and name != "5"

    schedule = DropSchedule(net, 0.0, 0.8, 2, where=where)
    assert seen == [("1", net[1]), ("3", net[3]), ("5", net[5])]
    schedule.step()
    assert schedule.get_last_p() == [0.4]
    assert [net[i].p for i in (1, 3, 5)] == [0.1, 0.4, 0.3]


def test_a_shared_layer_counts_once():
    layer = DropBlock2d(0.3)
    assert DropSchedule(nn.Sequential(layer, layer), 0.0, None, 2).get_last_p() == [0.0]


def test_a_wrapped_model_has_the_same_layers():
    net = model(0.1, 0.3)
    schedule = DropSchedule(torch.compile(net, backend="eager"), 0.0, None, 2)
    schedule.step()
    assert [net[1].p, net[3].p] == schedule.get_last_p() == [0.05, 0.15]


def test_after_the_ramp_a_rate_set_by_hand_stays():
    net = model(0.1)
    schedule = DropSchedule(net, 0.0, None, 2)
    rates_of(schedule, 2)
    net[1].p = 0.6
    schedule.step()
    assert net[1].p == 0.6


@pytest.mark.parametrize("stop", [None, 0.4])
@pytest.mark.parametrize("shape", ["linear", "cosine", lambda t: t**3])
@pytest.mark.parametrize("done", [0, 3, 6, 9])
def test_a_resumed_schedule_goes_on_as_if_whole(stop, shape, done):
    whole = rates_of(DropSchedule(model(0.1, 0.3), 0.05, stop, 6, shape), 12)
    net = model(0.1, 0.3)
    interrupted = DropSchedule(net, 0.05, stop, 6, shape)
    rates_of(interrupted, done)
    state = stored(interrupted.state_dict())
    for resumed_in in (model(0.1, 0.3), model(0.7, 0.8), net):  # `net` is in mid-ramp
        resumed = DropSchedule(resumed_in, 0.05, stop, 6, shape)
        resumed.load_state_dict(state)
        assert rates_of(resumed, 12 - done) == whole[done:]
        assert [resumed_in[1].p, resumed_in[3].p] == whole[-1]


def test_a_given_stop_and_another_number_of_steps_win_over_a_state():
    old = DropSchedule(model(0.1), 0.0, 0.2, 4)
    rates_of(old, 8)
    new = DropSchedule(model(0.1), 0.0, 0.6, 12)
    new.load_state_dict(old.state_dict())
    assert new.get_last_p() == pytest.approx([0.4])
    assert rates_of(new, 4)[-1] == [0.6]


def test_a_state_and_its_schedule_do_not_change_each_other():
    schedule, other = (DropSchedule(model(p), 0.0, None, 4) for p in (0.2, 0.8))
    state, loaded = schedule.state_dict(), other.state_dict()
    schedule.load_state_dict(loaded)
    schedule.step()
    assert state == {"step": 0, "stops": [0.2]}
    state = schedule.state_dict()
    for mutable in (state, loaded):
        mutable["stops"][0] = 0.5
    assert schedule.state_dict() == {"step": 1, "stops": [0.8]}


class Training:
    """Training with all that a checkpoint needs, learning-rate schedule included."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = model(0.2, 0.5)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.lr = torch.optim.lr_scheduler.LinearLR(self.optimizer, total_iters=8)
        self.drop = DropSchedule(self.model, 0.0, None, 8)

    def run(self, steps):
        for _ in range(steps):
            self.optimizer.zero_grad()
            x = torch.randn(2, 2, 12, 12)
            (self.model(x) - x).square().mean().backward()
            self.optimizer.step()
            self.lr.step()
            self.drop.step()

    def state_dict(self):
        states = {name: part.state_dict() for name, part in vars(self).items()}
        return {**states, "random": torch.get_rng_state()}

    def load_state_dict(self, state):
        for name, part in vars(self).items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])


def test_interrupted_training_gives_the_same_weights():
    whole = Training()
    whole.run(12)
    interrupted = Training()
    interrupted.run(5)
    file = io.BytesIO()
    torch.save(interrupted.state_dict(), file)
    file.seek(0)
    resumed = Training()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.run(7)
    weights = whole.model.state_dict()
    assert all(torch.equal(w, weights[k]) for k, w in resumed.model.state_dict().items())


def test_accelerate_saves_and_loads_it(tmp_path):
    accelerator = Accelerator(cpu=True)
    net = accelerator.prepare(model(0.2, 0.5))
    schedule = DropSchedule(net, 0.0, None, 8)
    accelerator.register_for_checkpointing(schedule)
    rates_of(schedule, 3)
    accelerator.save_state(tmp_path)
    at_saving = schedule.get_last_p()
    rates_of(schedule, 4)
    accelerator.load_state(tmp_path)
    assert schedule.get_last_p() == at_saving == [0.2 * 3 / 8, 0.5 * 3 / 8]
    assert rates_of(schedule, 5)[-1] == [0.2, 0.5]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_compiled_code_is_not_recompiled(shape):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    net = model(0.4, 0.5)
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    schedule = DropSchedule(compiled, 0.0, None, 10, shape)
    for _ in range(12):
        compiled(torch.ones(1, 2, 12, 12)).sum().backward()
        schedule.step()
    assert counter.frame_count == 1


@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_between_forward_and_backward_does_not_change_the_mask(compiled, start):
    torch._dynamo.reset()
    run = net = nn.Sequential(DropBlock2d(0.9, 3))
    if compiled:
        run = torch.compile(net, backend="aot_eager", fullgraph=True)
    schedule = DropSchedule(net, start, None, 4)
    for _ in range(4):
        x = torch.ones(1, 4, 30, 30, requires_grad=True)
        dropped, y = net[0].p, run(x)
        schedule.step()
        y.sum().backward()
        assert torch.equal(x.grad, y.detach())
        assert (y == 0).float().mean() == pytest.approx(dropped, abs=0.15)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_nor_in_compiled_code_with_checkpointing(start, use_reentrant):
    torch._dynamo.reset()
    net = nn.Sequential(*model(0.9), nn.Conv2d(2, 2, 3))  # the last one's backward needs its input
    run = torch.compile(
        lambda x: checkpoint(net, x, use_reentrant=use_reentrant),
        backend="aot_eager",
        fullgraph=True,
    )
    grads = []
    for step in (False, True):
        schedule = DropSchedule(net, start, 0.9, 1)
        torch.manual_seed(0)
        y = run(torch.ones(1, 2, 20, 20, requires_grad=True))
        if step:
            schedule.step()
        grads.append(torch.autograd.grad(y.square().sum(), list(net.parameters())))
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("error", "changed", "message"),
    [
        (TypeError, {"model": "rsan"}, "model must be a Module, got str"),
        (
            ValueError,
            {"model": nn.ReLU()},
            "model must have a DropBlock or Stoch.* layer, got ReLU",
        ),
        (
            ValueError,
            {"where": lambda name, layer: False},
            "where must pick a dropout layer of Sequential, got a function that is false",
        ),
        (TypeError, {"where": 3}, "where must be a type, a name pattern, a function of name and"),
        (
            ValueError,
            {"where": "0"},
            "where must pick a dropout layer of Sequential, got '0'. The nearest names are: 1",
        ),
        (ValueError, {"start": -0.1}, r"start must lie in \[0, 1\], got -0.1"),
        (ValueError, {"stop": math.nan}, r"stop must lie in \[0, 1\], got nan"),
        (TypeError, {"start": None}, "start must be a number or a 0-d .* tensor, got None"),
        (TypeError, {"stop": "0.1"}, "stop must be a number or a 0-d .* tensor, got '0.1'"),
        (TypeError, {"stop": torch.ones(1)}, "stop must be a number or a 0-d .* got shape"),
        (
            ValueError,
            {"stop": torch.tensor(0.1, requires_grad=True)},
            "stop must not require a gradient",
        ),
        (ValueError, {"steps": 0}, "steps must be at least 1, got 0"),
        (TypeError, {"steps": 1e3}, "steps must be an int, got 1000.0"),
        (ValueError, {"shape": "cos"}, r"shape must be one of \('linear', 'cosine'\), got 'cos'"),
        (ValueError, {"shape": None}, r"shape must be one of \('linear', 'cosine'\), got None"),
    ],
)
def test_bad_arguments(error, changed, message):
    net = model(0.25)
    with pytest.raises(error, match=f"^DropSchedule: {message}"):
        DropSchedule(**{"model": net, "start": 0.0, "stop": 0.1, "steps": 4, **changed})
    assert net[1].p == 0.25


def test_a_shape_that_leads_out_of_bounds():
    schedule = DropSchedule(model(0.25), 0.0, 0.5, 2, lambda t: 4 * t)
    with pytest.raises(ValueError, match=r"DropBlock2d: p must lie in \[0, 1\], got 2\.0"):
        rates_of(schedule, 2)


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (ValueError, {"last_epoch": 3}, r"keys 'step' and 'stops', got \['last_epoch'\]"),
        (ValueError, {"step": 3, "stops": [0.5]}, "of 2 layers, got 1"),
        (ValueError, {"step": -1, "stops": [0.5, 0.5]}, "step must be at least 0, got -1"),
        (TypeError, {"step": 1.5, "stops": [0.5, 0.5]}, "step must be an int, got 1.5"),
        (ValueError, {"step": 3, "stops": [0.5, 1.5]}, r"stops must lie in \[0, 1\], got 1.5"),
        (TypeError, {"step": 3, "stops": [0.5, None]}, "stops must be a number .*, got None"),
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(error, state, message):
    schedule = DropSchedule(model(0.1, 0.2), 0.0, None, 4)
    before = schedule.state_dict(), schedule.get_last_p()
    with pytest.raises(error, match=f"^DropSchedule: .*{message}"):
        schedule.load_state_dict(state)
    assert (schedule.state_dict(), schedule.get_last_p()) == before


def test_layers_of_every_number_of_axes_move():
    model = nn.Sequential(DropBlock1d(0.3), DropBlock2d(0.2), DropBlock3d(0.1))
    schedule = DropSchedule(model, start=0.0, stop=None, steps=2)
    schedule.step()
    assert [layer.p for layer in model] == [0.15, 0.1, 0.05]
