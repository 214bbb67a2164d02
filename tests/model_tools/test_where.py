"""`where`: one form and one error in all that take a model. One rule for what is dropout."""

import copy
import re
from collections import UserString
from contextlib import ExitStack
from typing import Any, NewType, Protocol

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import torchattn_blocks
from torchattn_blocks import (
    CBAM,
    DropBlock,
    DropBlock2d,
    DropSchedule,
    SpatialAttention,
    attention_maps,
    insert_after,
    insert_before,
    monte_carlo,
    replace,
    report,
    undo,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), DropBlock2d(0.1, 3))
        self.decoder = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout2d(0.2), DropBlock2d(0.3, 3))
        self.attention, self.gate = SpatialAttention(), CBAM(4)

    def forward(self, x):
        return self.gate(self.attention(self.decoder(self.encoder(x))))


def image():
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


# Each function that takes a model, and the names of the modules at which it works.


def by_report(net, where):
    with report(net, where=where) as used:
        return [use.name for use in used.layers]


def by_maps(net, where):
    return list(attention_maps(net, image(), where=where))


def by_monte_carlo(net, where):
    with monte_carlo(net, where=where):
        return [name for name, module in net.named_modules() if module.training]


def by_schedule(net, where):
    drops = nn.modules.dropout._DropoutNd
    rates = {name: m.p for name, m in net.named_modules() if isinstance(m, drops)}
    DropSchedule(net, 0.9, None, 1, where=where)
    return [name for name, rate in rates.items() if net.get_submodule(name).p != rate]


def by_change(change):
    def names(net, where):
        known = {id(module): name for name, module in net.named_modules()}
        picked = []
        change(net, where, lambda m: picked.append(known[id(m)]) or nn.Identity(), inplace=True)
        return picked

    names.__name__ = change.__name__
    return names


CHANGES = [by_change(change) for change in (insert_after, insert_before, replace)]
OWNERS = {
    by_report: "report",
    by_maps: "attention_maps",
    by_monte_carlo: "monte_carlo",
    by_schedule: "DropSchedule",
    **{change: change.__name__ for change in CHANGES},
}
every = pytest.mark.parametrize("names", OWNERS, ids=OWNERS.values())


WHERE = [
    nn.Dropout2d,
    DropBlock,
    "decoder.*",
    "**.2",
    lambda name, module: name in ("decoder.2", "attention"),
    ["decoder.1", DropBlock],
    (nn.Dropout2d, [CBAM, lambda name, module: name == "attention"]),
    [lambda name, module: name in ("gate", "attention"), nn.Dropout2d],
]


def expected(where):
    """What is picked of all modules, said once more in the simplest way."""
    return {
        0: ["decoder.1"],
        1: ["encoder.2", "decoder.2"],
        2: ["decoder.0", "decoder.1", "decoder.2"],
        3: ["encoder.2", "decoder.2"],
        4: ["decoder.2", "attention"],
        5: ["encoder.2", "decoder.1", "decoder.2"],
        6: ["decoder.1", "attention", "gate"],
        7: ["decoder.1", "attention", "gate"],
    }[WHERE.index(where)]


# Those who work on some modules alone.
ABLE = {
    by_maps: {"attention", "gate", "gate.channel", "gate.spatial"},
    by_schedule: {"encoder.2", "decoder.1", "decoder.2"},
}


@every
@pytest.mark.parametrize("where", WHERE, ids=range(len(WHERE)))
def test_one_form_picks_the_same_modules_everywhere(names, where):
    net = Net().eval()
    able = ABLE.get(names)
    if found := [name for name in expected(where) if able is None or name in able]:
        assert names(net, where) == found
    else:
        with pytest.raises(ValueError, match=rf"^{OWNERS[names]}: where must pick an? \w+ ?\w* of"):
            names(net, where)


@every
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("decodr.2", r"got 'decodr\.2'\. The nearest names are: .+"),
        (["**", "decodr.2"], r"got 'decodr\.2'\. The nearest names are: .+"),
        (nn.Dropout3d, r"got Dropout3d\. The nearest names are: .+"),
        ([nn.Dropout3d, nn.Bilinear], r"got Dropout3d or Bilinear\. The nearest names are: .+"),
        (lambda name, module: False, r"got a function that is false for all of its \d+ [\w ]+s"),
    ],
    ids=["pattern", "pattern in a list", "type", "types", "function"],
)
def test_one_error_for_what_picks_nothing(names, where, said):
    net, kind = Net(), "(module|dropout layer|attention layer)"
    message = rf"^{OWNERS[names]}: where must pick an? {kind} of Net, {said}$"
    with pytest.raises(ValueError, match=message):
        names(net, where)
    assert all(module.training and not module._forward_hooks for module in net.modules())


async def later(name, module):
    return True


def one_by_one(name, module):
    yield True


class Odd(Protocol):
    """Of this type nobody may ask for instances."""


class Refusing(type):
    def __instancecheck__(cls, instance):
        raise TypeError("no instances")


class Refused(metaclass=Refusing):
    """Nor of this one, which takes as many arguments as a function of name and module."""

    def __init__(self, name, module):
        pass


CIRCLE: list = ["decoder.2"]
CIRCLE.append(CIRCLE)
NO_WHERE = [
    *[3, [], [3], nn.ReLU(), lambda name: True, {"decoder.2"}, ["decoder.2", [None, 3]]],
    *[["decoder.2", []], later, one_by_one, Odd, Refused, Any, list[int], CIRCLE],
    *[UserString("decoder.2"), b"decoder.2", range(2), NewType("New", int), type | None],
]


@every
@pytest.mark.parametrize("where", NO_WHERE, ids=range(len(NO_WHERE)))
def test_one_error_for_what_is_no_where(names, where):
    message = f"^{OWNERS[names]}: where must be a type, a name pattern, a function of name and mod"
    with pytest.raises(TypeError, match=message):
        names(Net(), where)


@every
def test_an_error_of_a_function_says_whose_it_is(names):
    def where(name, module):
        return torch.ones(2)  # neither true nor false

    net = Net()
    with pytest.raises(RuntimeError, match="ambiguous") as caught:
        names(net, where)
    [note] = caught.value.__notes__
    assert note.startswith(f"{OWNERS[names]}: raised by the function in where, called with '")
    assert all(module.training and not module._forward_hooks for module in net.modules())


def test_what_a_function_returns_is_true_or_false():
    def where(name, module):
        return re.search(r"coder\.[12]$", name)

    expected = ["encoder.1", "encoder.2", "decoder.1", "decoder.2"]
    assert by_monte_carlo(Net().eval(), where) == expected


def test_the_nearest_names_are_those_that_it_can_work_on():
    with pytest.raises(ValueError, match=r"nearest names are: decoder\.2, decoder\.1, encoder\.2$"):
        by_schedule(Net(), "decoder.0")
    message = r"an attention layer of Net, .* nearest names are: attention, gate\.spatial, gate\.ch"
    with pytest.raises(ValueError, match=message):
        by_maps(Net(), "decoder.atention")


def test_none_in_a_list_stands_for_the_rule():
    net = Net().eval()
    usual = by_monte_carlo(net, None)
    assert usual == ["encoder.2", "decoder.1", "decoder.2"]
    assert by_monte_carlo(net, [None, "encoder.1"]) == ["encoder.1", *usual]
    assert by_schedule(net, None) == ["encoder.2", "decoder.2"]
    assert by_schedule(Net(), (None, nn.Dropout2d)) == usual
    assert by_schedule(Net(), [None, "decoder.2"]) == ["encoder.2", "decoder.2"]
    layers = [*usual, *by_maps(net, None)]
    assert by_report(net, None) == layers
    assert by_report(net, [None, "encoder.1"]) == ["encoder.1", *layers]
    assert by_maps(net, [None, "gate"]) == by_maps(net, None)
    for names in CHANGES:
        with pytest.raises(TypeError, match=r"where must be a type, .*, got None"):
            names(net, None)


def test_a_module_at_which_a_layer_is_inserted_keeps_its_name():
    net = insert_after(Net().eval(), "decoder.1", lambda m: DropBlock2d(0.4, 3))
    assert by_monte_carlo(net, "decoder.1") == ["decoder.1.host"]
    assert by_schedule(net, "decoder.1") == ["decoder.1.host"]
    assert by_report(net, "decoder.[1-2]") == ["decoder.1.host", "decoder.2"]
    with pytest.raises(ValueError, match="where must pick a module of Net"):
        by_monte_carlo(net, "decoder.1.h*")  # in the original network there is nothing in it
    inserted = ["decoder.1.inserted_after.0"]
    assert by_monte_carlo(net, "**.inserted_*.*") == inserted
    assert by_schedule(net, lambda name, module: "inserted" in name) == inserted
    assert by_report(net, "decoder.1.host") == ["decoder.1.host"]
    net = insert_after(net, "encoder", lambda m: SpatialAttention())
    assert by_maps(net, "**.inserted_after.*") == ["encoder.2.inserted_after.0"]
    net = insert_after(net, "attention", lambda m: nn.Identity())
    assert by_maps(net, "attention") == ["attention.host"]
    assert isinstance(undo(net).decoder[1], nn.Dropout2d)


@pytest.mark.parametrize("names", [by_report, by_maps, by_schedule, by_monte_carlo])
def test_names_are_those_from_before_the_model_was_wrapped(names, one_process_group):
    wrappers = (
        lambda net: torch.compile(net, backend="eager"),
        nn.parallel.DistributedDataParallel,
        lambda net: nn.parallel.DistributedDataParallel(torch.compile(net, backend="eager")),
        lambda net: torch.compile(nn.parallel.DistributedDataParallel(net), backend="eager"),
        nn.DataParallel,
    )
    where = "attention" if names is by_maps else "decoder.2"
    for wrap in wrappers:
        net = Net().eval()
        wrapped = wrap(net)
        if names in (by_report, by_maps):
            assert names(wrapped, where) == [where]
        elif names is by_schedule:
            DropSchedule(wrapped, 0.9, None, 1, where=where)
            assert (net.decoder[2].p, net.encoder[2].p) == (0.9, 0.1)
        else:
            with monte_carlo(wrapped, where=where):
                assert [n for n, m in net.named_modules() if m.training] == [where]


def test_a_module_with_several_names_is_picked_by_each():
    layer = nn.Dropout(0.5)
    net = nn.ModuleDict({"one": nn.Sequential(layer), "two": nn.Sequential(layer)}).eval()
    for name in ("one.0", "two.0", lambda name, module: name == "two.0", ["one.0", "two.0"]):
        assert by_monte_carlo(net, name) == ["one.0"]
        assert by_report(net, name) == ["one.0"]
        assert by_schedule(net, name) == ["one.0"]
        layer.p = 0.5


def test_names_are_those_from_before_a_part_was_compiled():
    net = Net().eval()
    net.decoder = torch.compile(net.decoder, backend="eager")
    assert by_monte_carlo(net, "decoder.[1-2]") == ["decoder._orig_mod.1", "decoder._orig_mod.2"]
    assert by_schedule(net, "decoder.2") == ["decoder._orig_mod.2"]
    assert by_report(net, "decoder") == ["decoder._orig_mod"]
    assert by_report(net, "decoder._orig_mod.2") == ["decoder._orig_mod.2"]


class DropPath(nn.Module):
    """As in timm: a dropout layer with a rate of another name."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training or not self.drop_prob:
            return x
        return x * torch.empty(len(x), 1).bernoulli_(1 - self.drop_prob)


class StochasticDepth(nn.Module):
    """As in torchvision."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x


class DropConnect(nn.Linear):  # none: it has weights
    p = 0.1


def test_a_type_of_the_same_name_is_told_apart():
    net = nn.Sequential(StochasticDepth(0.2))
    ours = torchattn_blocks.StochasticDepth
    got = r"got torchattn_blocks\.layers\.drop_path\.StochasticDepth\. The nearest names are: Stoch"
    for call in (lambda: replace(net, ours, nn.Identity), lambda: by_report(net, ours)):
        with pytest.raises(ValueError, match=got):
            call()


class DropWhole(nn.Module):  # none: it has no rate
    pass


def test_one_rule_for_what_a_dropout_layer_is():
    net = nn.Sequential(DropPath(0.3), StochasticDepth(0.2), DropConnect(2, 2), nn.Dropout(0.1))
    net.append(DropWhole())
    layers = ["0", "1", "3"]
    assert by_report(net, None) == layers
    assert by_monte_carlo(net.eval(), None) == layers
    schedule = DropSchedule(net, 0.0, None, 2, where="*")
    assert [net[0].drop_prob, net[1].p, net[2].p, net[3].p] == [0, 0, 0.1, 0]
    schedule.step()
    assert schedule.get_last_p() == [0.15, 0.1, 0.05]
    assert [net[0].drop_prob, net[1].p, net[3].p] == [0.15, 0.1, 0.05]
    schedule.step()
    assert schedule.get_last_p() == [0.3, 0.2, 0.1]
    with pytest.raises(ValueError, match=r"^DropPath: drop_prob must lie in \[0, 1\], got 2"):
        DropSchedule(net, 0.0, 0.5, 1, lambda t: 4 + t, where=DropPath)
    x = torch.ones(64, 1)
    with monte_carlo(net[0].eval()):
        assert 0 < net[0](x).sum() < 64


class Rate(nn.Module):
    """As some library may have it: a rate that is no number."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x


def test_a_layer_whose_rate_is_no_number_is_no_dropout_layer():
    kind = type("DropRate", (Rate,), {})
    found = [torch.tensor(0.3), None, 0.2, 1]
    others = ["a", [0.1], torch.tensor([0.1, 0.2]), len, kind]
    net = nn.Sequential(*map(kind, [*found, *others]))
    with report(net) as used:
        net(torch.ones(2))
    assert [round(use.p, 3) for use in used.layers] == [0.3, 0, 0.2, 1]
    schedule = DropSchedule(net, 0.5, None, 1, where=kind)
    schedule.step()
    assert schedule.get_last_p() == pytest.approx([0.3, 0, 0.2, 1])


def test_a_rate_that_is_read_only_is_said():
    kind = type("DropFixed", (nn.Module,), {"p": property(lambda self: 0.5)})
    message = "DropSchedule: where picks DropFixed, whose p is read-only"
    net = nn.Sequential(nn.Dropout(0.3), DropBlock2d(0.2), kind())
    with pytest.raises(TypeError, match=message):
        DropSchedule(net, 0.0, None, 1, where="*")
    assert (net[0].p, net[1].p, net[1].own_p) == (0.3, 0.2, 0.2)


@pytest.mark.parametrize("copied", [lambda net: net, copy.deepcopy])
def test_a_second_schedule_ends_where_the_first_was_to_end(copied):
    net, where = nn.Sequential(nn.Dropout(0.5), DropBlock2d(0.4), DropPath(0.3)), "*"
    for steps in (0, 3, 20):
        net = copied(net)
        schedule = DropSchedule(net, 0.0, None, 10, where=where)
        for _ in range(steps):
            schedule.step()
    DropSchedule(net, 0.2, 0.7, 1, where=where).step()  # no rates of their own
    schedule = DropSchedule(net, 0.0, None, 1, where=where)
    schedule.step()
    assert schedule.get_last_p() == [0.5, 0.4, 0.3]
    DropSchedule(net, 0.0, None, 10, where=where)
    net[0].p, net[1].p, net[2].drop_prob = 0.1, 0.2, 0.25  # what is set last is a layer's own
    schedule = DropSchedule(net, 0.0, None, 1, where=where)
    schedule.step()
    assert schedule.get_last_p() == [0.1, 0.2, 0.25]


def test_a_schedule_of_torchs_dropout_changes_what_it_drops():
    net = nn.Sequential(nn.Dropout(0.5))
    schedule = DropSchedule(net, 0.0, 1.0, 2, where=nn.Dropout)
    x = torch.ones(1000)
    torch.manual_seed(0)
    kept = []
    for _ in range(3):
        kept.append(float((net(x) != 0).float().mean()))
        schedule.step()
    assert (kept[0], kept[2]) == (1, 0)
    assert kept[1] == pytest.approx(0.5, abs=0.08)


def test_compiled_code_holds_the_rates_of_others_as_constants():
    torch._dynamo.reset()
    counter = CompileCounter()
    net = nn.Sequential(nn.Dropout(0.5), DropBlock2d(0.4, 3))
    run = torch.compile(net, backend=counter, fullgraph=True)
    for where, compiled in ((DropBlock, 1), (nn.Dropout, 4)):
        schedule = DropSchedule(net, 0.0, 0.3, 3, where=where)
        for _ in range(3):
            schedule.step()
            run(torch.ones(1, 2, 9, 9))
        assert counter.frame_count == compiled


def test_batch_normalisation_is_not_put_into_training_mode():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout2d(), nn.InstanceNorm2d(3)).eval()
    before = net[0].running_mean.clone()
    for where in ("*", nn.BatchNorm2d, [None, "0"], lambda name, module: name == "0"):
        with (
            ExitStack() as stack,
            pytest.raises(ValueError, match=r"change, got 0 \(BatchNorm"),
        ):
            stack.enter_context(monte_carlo(net, where=where))
    assert by_monte_carlo(net, ["1", "2"]) == ["1", "2"]  # this one has no running statistics
    net[0] = nn.BatchNorm2d(3, track_running_stats=False).eval()
    assert by_monte_carlo(net, "*") == ["0", "1", "2"]
    assert torch.equal(before, torch.zeros(3))


def test_report_counts_the_calls_of_any_module():
    net = Net()
    with report(net, where=[nn.Conv2d, "decoder.2"]) as used:
        net(image())
    kinds = {use.name: (use.kind, use.calls) for use in used.layers}
    assert kinds["encoder.0"] == ("other", 1)
    assert kinds["decoder.2"] == ("dropout", 1)
    assert kinds["gate.spatial.conv"] == ("other", 1)


def test_a_module_that_contains_itself_ends_the_search():
    net = nn.Sequential(nn.Dropout(0.5))
    net[0].owner = net
    assert by_schedule(net, "0") == ["0"]
    assert by_report(net, nn.Dropout) == ["0"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_scripted_models_are_taken():
    scripted = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), image())
    with report(scripted) as used:
        scripted(image())
    assert used.layers == []
    with pytest.raises(ValueError, match="attention_maps: model must call a layer that has"):
        attention_maps(scripted, image())
    with pytest.raises(ValueError, match="DropSchedule: model must have a DropBlock or Sto"):
        DropSchedule(scripted, 0.0, None, 1)
    with monte_carlo(scripted, where=lambda name, module: name == "0"):
        assert [name for name, module in scripted.named_modules() if module.training] == ["0"]


class Wrapper(nn.DataParallel):
    """With a layer of its own."""

    def __init__(self, module):
        super().__init__(module)
        self.head = SpatialAttention()

    def forward(self, x):
        return self.head(self.module(x))


def test_a_wrapper_of_ones_own_is_a_part_of_the_network():
    net = Wrapper(Net())
    assert by_maps(net, None)[-1] == "head"
    assert by_report(net, "module.attention") == ["module.attention"]


def test_the_model_that_is_given_is_called():
    net, calls = nn.DataParallel(Net()), []
    net.register_forward_hook(lambda *args: calls.append(1))
    assert by_maps(net, "attention") == ["attention"]
    assert calls == [1]
