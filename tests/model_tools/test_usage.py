"""What `report` says, and that nothing else changes while it does."""

import copy
import json
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint
from torch_resnet import Block, ResNet

from torchattn_blocks import (
    CBAM,
    DropBlock1d,
    DropBlock2d,
    DropBlock3d,
    DropSchedule,
    SpatialAttention,
    insert_after,
    monte_carlo,
    out_channels,
    replace,
    report,
)


def dropped_net():
    torch.manual_seed(0)
    net = insert_after(ResNet(), Block, lambda m: DropBlock2d(0.3, 3))
    return insert_after(net, "layer2", lambda m: CBAM(out_channels(m)))


def image():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (DropBlock1d(0.3, 3), (4, 8, 50)),
        (DropBlock2d(0.3, 3), (4, 8, 20, 20)),
        (DropBlock2d(0.3, 3, scale="batch", gamma="paper", channelwise=False), (4, 8, 20, 20)),
        (DropBlock2d(0.3, 3, scale="position"), (4, 8, 20, 20)),
        (DropBlock2d(0.3, 3, inplace=True), (4, 8, 20, 20)),
        (DropBlock2d(0.6, 1), (4, 8, 20, 20)),
        (DropBlock3d(0.3, 3), (2, 4, 8, 20, 20)),
        (nn.Dropout(0.3), (4, 50)),
        (nn.Dropout2d(0.3), (8, 16, 4, 4)),
        (nn.Dropout(0.3, inplace=True), (8, 16, 4, 4)),
    ],
    ids=repr,
)
def test_the_fraction_kept_is_that_of_the_mask(layer, shape):
    with report(layer) as used:
        kept = [float((layer(torch.ones(shape)) != 0).double().mean()) for _ in range(3)]
    [use] = used.layers
    assert use.kept == pytest.approx(sum(kept) / 3, abs=1e-12)
    assert (use.name, use.kind, use.p, use.calls, use.fired) == ("", "dropout", layer.p, 3, 3)
    assert use.layer == type(layer).__name__


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)])
def test_what_alpha_dropout_does_not_set_to_zero_is_dropped_too(layer):
    torch.manual_seed(0)
    with report(layer) as used:
        y = layer(torch.ones(8, 32, 4, 4))
    assert used.layers[0].kept == (y > 0).double().mean() < 0.9
    assert len(y.unique()) == 2


def test_zeros_of_the_input_are_not_taken_for_dropped_ones():
    layer = DropBlock2d(0.2, 3)
    with report(layer) as used:
        for _ in range(20):
            y = layer(image().relu())
    assert (y == 0).double().mean() > 0.5
    assert used.layers[0].kept == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_else_changes(dtype):
    net, x = dropped_net().to(dtype), image().to(dtype)
    found = []
    for watched in (True, False):
        net.zero_grad()
        torch.manual_seed(3)
        if watched:
            with report(net) as used:
                y = net(x)
        else:
            y = net(x)
        y.square().sum().backward()
        found.append([y, torch.rand(1), *(p.grad for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert len(used.layers) == 4 + 1 + 3  # CBAM has two layers


def test_random_numbers_are_those_without_it_also_if_a_layer_draws_by_its_input():
    class DropSome(nn.Module):
        p = 0.5

        def forward(self, x):
            x = x.clone()
            x[x != 0] *= (torch.rand(int(x.count_nonzero())) > self.p).float()
            return x

    drawn = []
    for net in (DropSome(), nn.Sequential(DropSome())):
        torch.manual_seed(0)
        with report(net) if drawn else nullcontext():
            net(torch.tensor([0.0, 1.0, 2.0]))
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)


def hooks(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_outside_there_are_no_hooks():
    net = dropped_net()
    before = hooks(net)
    with report(net) as used:
        assert hooks(net) == before + 2 * (8 + 4)  # layers, and modules at which they are
        net(image())
    assert hooks(net) == before
    net(image())
    assert {use.calls for use in used.layers} == {1}
    with pytest.raises(RuntimeError, match="stop"), report(net):
        raise RuntimeError("stop")
    assert hooks(net) == before


def test_a_report_can_be_read_inside_the_block():
    layer = DropBlock2d(0.3, 3)
    with report(layer) as used:
        assert used.layers[0].remark == "never fired: never called"
        layer(image())
        assert used.layers[0].calls == 1
        layer(image())
        assert used.layers[0].calls == 2


def test_it_says_which_layer_never_fired_and_why():
    net = nn.ModuleDict(
        {
            "uncalled": DropBlock2d(0.3, 3),
            "evaluated": DropBlock2d(0.3, 3).eval(),
            "zero": DropBlock2d(0.0, 3),
            "rare": DropBlock2d(1e-9, 3),
            "fine": DropBlock2d(0.3, 3),
            "attention": SpatialAttention(),
            "used": SpatialAttention(),
        }
    )
    with report(net) as used:
        for _ in range(2):
            for name in ("evaluated", "zero", "rare", "fine", "used"):
                net[name](image())
    said = {use.name: use.remark for use in used.layers}
    assert said == {
        "uncalled": "never fired: never called",
        "evaluated": "never fired: called 2 times, in evaluation mode",
        "zero": "never fired: called 2 times, with p = 0",
        "rare": "never fired: called 2 times, and dropped nothing",
        "fine": "",
        "attention": "never fired: never called",
        "used": "",
    }
    assert [use.fired for use in used.layers] == [0, 0, 0, 0, 2, 0, 2]
    assert [use.kept for use in used.layers][:4] == [None, None, 1.0, 1.0]
    assert {use.p for use in used.layers if use.kind == "attention"} == {None}


def test_the_table():
    net = nn.Sequential(*[DropBlock2d(0.2, 3).eval() for _ in range(5)], SpatialAttention())
    with report(net) as used:
        net(image())
    lines = str(used).split("\n")
    assert lines[0].split() == ["layer", "class", "p", "kept", "fired", "calls"]
    assert lines[1].split() == ["0", "DropBlock2d", "0.200", "-", "0", "1"]
    assert lines[6].split() == ["5", "SpatialAttention", "-", "-", "1", "1"]
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[7:] == [
        "",
        "0, 1, 2 and 2 more (DropBlock2d): never fired: called once, in evaluation mode",
    ]
    with report(net[5]) as used:
        net[5](image())
    assert str(used).endswith("\n\nEvery layer fired.")
    with report(nn.ReLU()) as used:
        pass
    assert str(used) == "ReLU has no dropout layer, no attention layer and no inserted one."


def test_it_is_plain_data():
    net = dropped_net()
    with report(net) as used:
        net(image())
    rows = json.loads(json.dumps(used.as_dicts()))
    assert [row["name"] for row in rows] == [use.name for use in used.layers]
    assert rows[0]["layer"] == "DropBlock2d"


def test_the_rate_is_the_mean_of_those_that_were_used():
    layer = DropBlock2d(0.4, 3)
    schedule = DropSchedule(layer, 0.0, 0.4, 4)
    with report(layer) as used:
        for _ in range(5):
            layer(image())
            schedule.step()
    assert used.layers[0].p == pytest.approx(0.2)
    assert used.layers[0].kept == pytest.approx(0.8, abs=0.06)
    assert used.layers[0].fired == 4
    layer.p = 0.1
    with report(layer) as used:
        assert used.layers[0].p == 0.1


def test_calls_in_evaluation_mode_leave_the_fraction_alone():
    layer = DropBlock2d(0.5, 3)
    with report(layer) as used:
        layer(image())
        [use] = used.layers
        layer.eval()(image())
    assert (used.layers[0].calls, used.layers[0].fired) == (2, 1)
    assert (used.layers[0].kept, used.layers[0].p) == (use.kept, use.p)


def test_monte_carlo_dropout_fires():
    net = dropped_net().eval()
    with report(net) as used, monte_carlo(net):
        net(image())
    assert {use.fired for use in used.layers if use.kind == "dropout"} == {1}


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_is_counted_once(use_reentrant):
    layer = DropBlock2d(0.3, 3)
    with report(layer) as used:
        x = image().requires_grad_()
        checkpoint(layer, x, use_reentrant=use_reentrant).sum().backward()
    assert (used.layers[0].calls, used.layers[0].fired) == (1, 1)


def test_compiled_models_run_uncompiled():
    net, x = dropped_net(), image()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    compiled(x)
    with report(compiled) as used:
        compiled(x)
    assert [use.calls for use in used.layers] == [1] * 8
    assert used.layers[0].name == "layer1.0.inserted_after.0"
    compiled(x)
    assert used.layers[0].calls == 1


def test_transforms_and_tensors_without_memory_are_counted_only():
    layer = DropBlock2d(0.3, 3)
    with report(layer) as used:
        torch.func.vmap(layer, randomness="different")(image()[:, None])
        layer(image().to("meta"))
    [use] = used.layers
    assert (use.calls, use.fired, use.kept) == (2, 0, None)
    assert use.remark == "called 2 times, where its mask cannot be measured"


def compiles():
    """Whether torch.compile compiles at present."""
    counter = CompileCounter()
    torch.compile(nn.Tanh(), backend=counter)(torch.ones(1))
    return counter.frame_count == 1


def test_reports_that_overlap_leave_compilation_on():
    assert compiles()
    first, second = report(nn.ReLU()), report(nn.ReLU())
    first.__enter__()
    second.__enter__()
    assert not compiles()
    first.__exit__(None, None, None)
    assert not compiles()
    second.__exit__(None, None, None)
    assert compiles()


def test_a_copy_made_in_the_block_does_not_count_and_loses_its_hooks():
    net = dropped_net()
    with report(net) as used:
        copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        changed = insert_after(net, "layer1", lambda m: DropBlock2d(0.1))
        for one in (*copies, changed):
            one(image())
        assert {use.calls for use in used.layers} == {0}
        net(image())
    assert {use.calls for use in used.layers} == {1}
    assert [hooks(one) for one in copies] == [hooks(net)] * 2


def test_a_mask_that_is_not_clear_is_not_measured():
    class DropoutAdd(nn.Module):
        p = 0.5

        def forward(self, x, y):
            return nn.functional.dropout(x, self.p, self.training) + y

    class DropTokens(nn.Module):
        p = 0.5

        def forward(self, x):
            return x[:1], 1

    class DropHalf(DropTokens):
        def forward(self, x):
            return x[:2]

    class DropSame(DropTokens):
        def forward(self, x):
            return x

    net = nn.ModuleList([DropoutAdd(), DropTokens(), DropHalf(), DropSame()])
    x = torch.ones(4)
    with report(net) as used:
        net[0](x, x)
        net[1](x)
        net[2](x)
        net[3](x.to(torch.complex64))
    for use in used.layers:
        assert (use.calls, use.fired, use.kept) == (1, 0, None)
        assert use.remark == "called once, where its mask cannot be measured"


def test_a_layer_in_a_measured_layer_is_counted_once():
    class DropTwice(nn.Module):
        p = 0.5

        def __init__(self):
            super().__init__()
            self.inner = nn.Dropout(0.5)

        def forward(self, x):
            return self.inner(x)

    net = DropTwice()
    with report(net) as used:
        net(torch.ones(100))
    outer, inner = used.layers
    assert (outer.calls, inner.calls) == (1, 1)
    assert outer.kept == inner.kept < 1


@pytest.mark.xfail(torch.__version__ < "2.9", reason="torch exports no module that has hooks")
def test_export_in_the_block():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5))
    with report(net) as used:
        torch.export.export(net, (image(),), strict=True)
    assert used.layers[0].calls == 0


def test_it_shows_itself():
    with report(nn.Dropout()) as used:
        pass
    assert repr(used) == str(used)


class DropPath(nn.Module):
    """As in other libraries: a rate of another name, a mask for each sample."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x, scale=True):
        if not self.training or not self.drop_prob:
            return x
        keep = 1 - self.drop_prob
        return x * torch.empty(len(x), 1, 1, 1).bernoulli_(keep).div(keep if scale else 1)


def test_layers_of_other_libraries_are_found():
    class DropConnect(nn.Linear):  # not one: it has weights
        p = 0.1

    net = nn.ModuleList([DropPath(0.5), DropPath(None), DropConnect(2, 2), nn.Dropout1d(0.1)])
    torch.manual_seed(0)
    with report(net) as used:
        kept = (net[0](x=torch.ones(64, 3, 1, 1), scale=False) != 0).double().mean()
        net[1](image())
    assert [use.name for use in used.layers] == ["0", "1", "3"]
    assert (used.layers[0].p, used.layers[0].kept) == (0.5, kept)
    assert used.layers[1].remark == "never fired: called once, with p = 0"


class Bypasses(nn.Module):
    """Reads a parameter of one child, calls the forward of another, and runs the third."""

    def __init__(self):
        super().__init__()
        self.read, self.forwarded = nn.Conv2d(3, 3, 1), nn.ReLU()
        self.called = nn.Sequential(nn.ReLU(), nn.Tanh())

    def forward(self, x):
        x = self.forwarded.forward(nn.functional.conv2d(x, self.read.weight))
        return self.called(x)


def test_a_module_that_is_not_called_is_named():
    net = insert_after(Bypasses(), "*", lambda m: nn.Hardtanh())
    net = insert_after(net, "read", lambda m: nn.Sequential(DropBlock2d(0.3, 3)))
    with report(net) as used:
        net(image())
    said = {use.name: (use.kind, use.calls, use.remark) for use in used.layers}
    assert said == {
        "read.inserted_after.0": ("other", 0, "never fired: never called, as read never is"),
        "read.inserted_after.1.0": ("dropout", 0, "never fired: never called, as read never is"),
        "forwarded.inserted_after.0": ("other", 1, ""),
        "called.1.inserted_after.0": ("other", 1, ""),
    }

    net = insert_after(nn.Sequential(DropBlock2d(0.3, 3)), "0", lambda m: nn.Dropout(0.2))
    with report(net) as used:
        pass
    assert [(use.name, use.kind) for use in used.layers] == [
        ("0.host", "dropout"),
        ("0.inserted_after.0", "dropout"),
    ]

    class Skips(nn.Sequential):
        def forward(self, x):
            return x

    net = insert_after(nn.Sequential(nn.ReLU()), "0", lambda m: Skips(nn.Dropout(0.5)))
    with report(net) as used:
        net(image())
    assert used.layers[0].remark == "never fired: never called"  # the ReLU was
    net = replace(Bypasses(), "read", lambda m: nn.Conv2d(3, 3, 1))
    with report(net) as used:
        net(image())
    assert used.layers[0].remark == "never fired: never called"


def test_a_wrong_model_is_refused():
    with pytest.raises(TypeError, match="report: model must be a Module, got int"), report(3):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
@pytest.mark.parametrize("layer", [DropBlock2d(0.3, 3), nn.Dropout(0.3)], ids=repr)
def test_on_cuda(layer):
    net = insert_after(nn.Sequential(nn.Conv2d(3, 8, 1).cuda()), "0", lambda m: CBAM(8))
    net = insert_after(net, "0", lambda m: copy.deepcopy(layer))
    assert {p.device.type for p in net.parameters()} == {"cuda"}
    x = torch.ones(4, 3, 20, 20, device="cuda")
    torch.manual_seed(0)
    y = layer(x)
    expected = [net(x), torch.rand(1, device="cuda")]
    torch.manual_seed(0)
    with report(layer) as used, report(net):
        assert torch.equal(layer(x), y)
        found = [net(x), torch.rand(1, device="cuda")]
    assert used.layers[0].kept == pytest.approx(float((y != 0).double().mean()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
