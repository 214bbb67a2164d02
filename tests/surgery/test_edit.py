"""Layers inserted into networks and taken out again."""

import copy
import io
import pickle
import re
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch_resnet import Block, ResNet

from torchattn_blocks import (
    CBAM,
    DropBlock2d,
    EfficientChannelAttention,
    IdentityStart,
    SpatialAttention,
    changes,
    insert_after,
    insert_before,
    out_channels,
    replace,
    undo,
)
from torchattn_blocks.surgery.listing import Change


def resnet(training=False):
    torch.manual_seed(0)
    return ResNet().train(training)


def image():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Scale(nn.Module):
    """Multiplies by a number, so that a test sees where and how often it ran."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Shift(nn.Module):
    def forward(self, x):
        return x + 1


class Parameter(nn.Module):
    """A layer with a weight, that does nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight


def cbam(module):
    return IdentityStart(CBAM(out_channels(module)))


def listed(model):
    return [str(change) for change in changes(model)]


# Where a layer runs.


def test_after_computes_the_output_and_before_the_input():
    net, x = nn.Sequential(nn.ReLU(), nn.Tanh()), image()
    after = insert_after(net, nn.ReLU, lambda module: Scale(3))
    before = insert_before(net, nn.ReLU, lambda module: Shift())
    assert torch.equal(after(x), (x.relu() * 3).tanh())
    assert torch.equal(before(x), (x + 1).relu().tanh())
    assert torch.equal(net(x), x.relu().tanh())


def test_before_takes_the_first_argument_however_it_is_given():
    class Weighted(nn.Module):
        def forward(self, x, factor=1, *, shift=0):
            return x * factor + shift

    net, x = insert_before(Weighted(), "", lambda module: Shift()), torch.ones(2)
    assert net(x, 3, shift=1).tolist() == [7, 7]
    assert net(x=x, factor=3).tolist() == net(factor=3, x=x).tolist() == [6, 6]
    with pytest.raises(
        TypeError, match="insert_before: Weighted must be called with its first argument, x"
    ):
        net()


def test_layers_at_one_module_run_in_the_order_of_insertion():
    x = torch.ones(1)
    for insert in (insert_after, insert_before):
        net = insert(nn.Identity(), "", lambda module: Shift())
        net = insert(net, "", lambda module: Scale(10))
        assert net(x).item() == 20
        assert len(changes(net)) == 2


def test_a_container_is_changed_at_its_ends():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Sequential(nn.Tanh()))
    x = image()
    y = net[0](x)
    assert torch.equal(insert_after(net, "0", lambda m: Scale(3))(x), (3 * y).tanh())
    assert torch.equal(insert_before(net, "0", lambda m: Scale(3))(x), net(3 * x))
    assert torch.equal(insert_after(net, "", lambda m: Scale(3))(x), 3 * net(x))
    assert len(net[0]) == 2
    assert changes(insert_after(Scale(2), "", lambda m: Parameter())) == [
        Change("Parameter", "after", "", "inserted_after.0", ("inserted_after.0.weight",))
    ]


def test_an_inner_container_comes_before_the_outer_one():
    net = nn.Sequential(nn.Sequential(nn.Identity()))
    made = iter([Scale(10), Shift()])  # for the outer one, then for the inner one
    assert insert_after(net, nn.Sequential, lambda m: next(made))(torch.ones(1)).item() == 20
    made = iter([Scale(10), Shift()])
    assert insert_before(net, nn.Sequential, lambda m: next(made))(torch.ones(1)).item() == 11


def test_a_module_used_twice_is_changed_once():
    relu = nn.ReLU()
    net = nn.ModuleDict({"a": relu, "b": nn.Sequential(nn.Conv2d(3, 4, 1), relu)})
    made = []
    changed = insert_after(net, nn.ReLU, lambda module: made.append(Scale(2)) or made[-1])
    assert len(made) == len(changes(changed)) == 1
    assert changed["a"] is changed["b"][1]
    changed = replace(net, "b.1", lambda module: Scale(2))
    assert changed["a"] is changed["b"][1]
    assert listed(changed) == ["Scale instead of a"]
    back = undo(changed)
    assert isinstance(back["a"], nn.ReLU)
    assert back["a"] is back["b"][1] is not relu
    block = insert_after(resnet(), "layer1.0.relu", lambda module: Scale(2))
    assert listed(block) == ["Scale after layer1.0.relu"]


def test_a_copy_is_changed_unless_asked():
    net = resnet()
    keys = list(net.state_dict())
    assert insert_after(net, nn.BatchNorm2d, cbam) is not net
    assert changes(net) == []
    assert (list(net.state_dict()), len(net.layer1[0].bn1._forward_hooks)) == (keys, 0)
    assert insert_after(net, nn.BatchNorm2d, cbam, inplace=True) is net
    assert len(changes(net)) == 10
    assert undo(net) is not net
    assert len(changes(net)) == 10
    assert replace(net, nn.Dropout2d, lambda m: DropBlock2d(m.p), inplace=True) is net
    assert undo(net, inplace=True) is net
    assert changes(net) == []


# Which modules are picked.


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("layer1.0.bn1", ["layer1.0.bn1"]),
        ("layer?.0.bn1", ["layer1.0.bn1", "layer2.0.bn1"]),
        ("layer1.*.bn[12]", ["layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1", "layer1.1.bn2"]),
        ("*.bn1", []),
        ("**.bn1", ["layer1.0.bn1", "layer1.1.bn1", "layer2.0.bn1", "layer2.1.bn1"]),
        ("layer2.**.1", ["layer2.0.downsample.1", "layer2.1"]),
        ("", [""]),
        ("fc", ["fc"]),
        ("f", []),
        (nn.Dropout2d, ["dropout"]),
        (nn.modules.dropout._DropoutNd, ["dropout"]),
        (nn.Dropout3d, []),
        ((nn.Dropout2d, nn.Linear), ["dropout", "fc"]),
        (["fc", nn.Dropout2d, lambda name, module: name == "stem.0"], ["stem.0", "dropout", "fc"]),
        (("layer1.0.bn?", (nn.Linear, nn.Dropout3d)), ["layer1.0.bn1", "layer1.0.bn2", "fc"]),
        (["fc", "layer9"], []),
        (
            lambda name, module: getattr(module, "stride", 0) == (2, 2) and "down" not in name,
            ["layer2.0.conv1"],
        ),
        (lambda name, module: False, []),
    ],
)
def test_what_is_picked(where, names):
    picked = []
    net = resnet()
    known = {id(module): name for name, module in net.named_modules()}
    expected = nullcontext() if names else pytest.raises(ValueError, match="must pick a module of")
    factory = lambda m: picked.append(known[id(m)]) or Scale(1)  # noqa: E731
    with expected:
        if where == "":  # what a copy has in these places
            insert_after(net, where, lambda m: picked.append("") or Scale(1))
        else:
            insert_after(net, where, factory, inplace=True)
    assert picked == names


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("layer1.0.con1", "'layer1.0.con1'. The nearest names are: layer1.0.conv1, "),
        ("encoder", "'encoder'. The nearest names are: "),
        (nn.BatchNorm3d, "BatchNorm3d. The nearest names are: BatchNorm2d"),
        (lambda name, module: False, "a function that is false for all of its 37 modules"),
        (["fc", "layr1"], "got 'layr1'. The nearest names are: layer1"),
        ([nn.BatchNorm3d, nn.Bilinear], "got BatchNorm3d or Bilinear. The"),
    ],
)
def test_picking_nothing_names_the_nearest(where, said):
    for change in (insert_after, insert_before, replace):
        with pytest.raises(ValueError, match=f"^{change.__name__}: where must pick") as caught:
            change(resnet(), where, lambda m: Shift())
        assert said in str(caught.value)


def test_inserted_layers_are_not_picked_but_replaced_ones_are():
    net = insert_after(resnet(), "stem.1", cbam)
    assert len(changes(insert_after(net, nn.Conv2d, lambda m: Shift()))) == 1 + 10
    assert len(changes(insert_after(net, "**", lambda m: Shift()))) == 1 + 37
    net = replace(resnet(), nn.Dropout2d, lambda m: DropBlock2d(m.p))
    net = replace(net, DropBlock2d, lambda m: nn.Dropout(m.p))
    assert listed(net) == ["Dropout instead of dropout"]
    assert isinstance(undo(net).dropout, nn.Dropout2d)


# What is refused.


class OwnWay(nn.Sequential):
    def forward(self, x):
        for module in self:
            x = module(x)
        return x + 1


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.host = "example.org"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_layer_that_would_not_run_is_refused():
    relu = nn.ReLU()
    net = nn.ModuleDict(
        {
            "list": nn.ModuleList([nn.ReLU()]),
            "own": OwnWay(nn.ReLU()),
            "empty": nn.Sequential(),
            "shared": nn.Sequential(nn.Tanh(), relu),
            "starts": nn.Sequential(relu, nn.Tanh()),
            "twice": nn.Sequential(relu, nn.Sequential(nn.Tanh(), relu)),
            "relu": relu,
            "attention": nn.MultiheadAttention(4, 2),
            "script": torch.jit.script(nn.Sequential(nn.ReLU())),
            "named": Named(),
        }
    )
    for where, said in {
        "list": "where picks list, but a layer cannot join the call of list, which is a ModuleList",
        "own": "own, which is a OwnWay: pick modules in it",
        "empty": "empty, which is a Sequential: it is empty",
        "shared": "shared.1, the last in it, is also used as relu",
        "attention.out_proj": "MultiheadAttention reads its parameters and never calls it",
        "script.0": "RecursiveScriptModule is compiled and never calls it",
        "named": "named has an attribute host, a name that the layer needs here",
        "": "itself, but a layer cannot join the call of the model itself, which is a ModuleDict",
    }.items():
        with pytest.raises(ValueError, match="insert_after: where picks") as caught:
            insert_after(net, where, lambda m: Shift(), inplace=True)
        assert said in str(caught.value)
    with pytest.raises(ValueError, match=r"picks starts, but starts\.0, the first in it, is also"):
        insert_before(net, "starts", lambda m: Shift())
    with pytest.raises(
        ValueError, match=r"replace: where picks attention\.out_proj, but Multihead"
    ):
        replace(net, nn.Linear, lambda m: nn.Linear(4, 4), inplace=True)
    assert changes(net) == []
    insert_after(net, "own.0", lambda m: Shift())
    insert_after(net, "attention", lambda m: Shift())
    insert_after(net["attention"], "", lambda m: Shift())
    for insert in (insert_after, insert_before):
        message = f"{insert.__name__}: where picks the model itself, whose place inplace=True"
        with pytest.raises(ValueError, match=message):
            insert(net["relu"], "", lambda m: Shift(), inplace=True)
    with pytest.raises(ValueError, match="undo: model itself is in the place of another module"):
        undo(insert_after(net["relu"], "", lambda m: Shift()), inplace=True)
    net = insert_after(net, "script", lambda m: Shift())
    assert net["script"](torch.ones(1)).item() == 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_wrong_arguments():
    net = resnet()
    for change in (insert_after, insert_before, replace):
        name = change.__name__
        with pytest.raises(TypeError, match=f"{name}: model must be a Module, got str"):
            change("net", nn.ReLU, lambda m: Shift())
        for where in (3, None, nn.ReLU(), lambda name: True, (nn.ReLU, None), ("fc", [3]), ()):
            with pytest.raises(TypeError, match=f"{name}: where must be a type, a name pattern, a"):
                change(net, where, lambda m: Shift())
        with pytest.raises(TypeError, match=f"{name}: inplace must be a bool, got str"):
            change(net, nn.ReLU, lambda m: Shift(), inplace="no")
        for compiled in (torch.compile(Shift(), backend="eager"), torch.jit.script(Shift())):
            message = (
                rf"{name}: factory must return a layer that is not compiled yet, got .* for fc"
            )
            with pytest.raises(ValueError, match=message):
                change(net, "fc", lambda m, layer=compiled: layer)
        wanted = f"{name}: factory must be a function that takes a module and returns a module"
        for factory in (Shift(), lambda: Shift(), lambda m: None, SpatialAttention):
            with pytest.raises(TypeError, match=wanted):
                change(net, "fc", factory)
        with pytest.raises(ValueError, match=f"{name}: factory must return a new module for fc"):
            change(net, "fc", lambda m: m)
        one = Shift()
        with pytest.raises(
            ValueError, match=r"new module for layer1\.0\.bn2, got Shift, which is in"
        ):
            change(net, "layer1.0.bn?", lambda m, one=one: one)
    with pytest.raises(ValueError, match="replace: where must pick modules in the model"):
        replace(net, "", lambda m: Shift())
    for function in (changes, undo):
        with pytest.raises(TypeError, match=f"{function.__name__}: model must be a Module"):
            function(3)
    net = insert_after(net, "layer1.0.bn1", cbam)
    for where in ("layer1.0.bn1", "layer1"):
        with pytest.raises(ValueError, match=f"replace: where picks {where}, in which layers are"):
            replace(net, where, lambda m: nn.Identity())


def test_compiled_models_are_refused():
    net = resnet()
    net.layer1.compile(backend="eager")
    compiled = torch.compile(resnet(), backend="eager")
    for model in (compiled, nn.Sequential(compiled), net):
        for change in (insert_after, insert_before, replace):
            with pytest.raises(ValueError, match="model must not be compiled yet"):
                change(model, nn.Conv2d, lambda m: Shift(), inplace=True)
        with pytest.raises(ValueError, match="undo: model must not be compiled yet"):
            undo(model)


def test_models_of_several_processes_are_refused(one_process_group):
    parallel = nn.parallel.DistributedDataParallel(resnet())
    sharded = resnet()
    fully_shard(sharded.layer1, mesh=one_process_group)
    for model, said in (
        (parallel, "got DistributedDataParallel: call"),
        (nn.Sequential(parallel), "got DistributedDataParallel as 0: call"),
        (sharded, "got FSDPSequential as layer1: call"),
    ):
        for change in (insert_after, insert_before, replace):
            with pytest.raises(ValueError, match="wrapped for several processes yet") as error:
                change(model, "**.bn1", lambda m: Shift(), inplace=True)
            assert said in str(error.value)
    insert_after(parallel.module, "fc", lambda m: Shift(), inplace=True)


def test_an_error_leaves_the_model_as_it_was():
    net = resnet()
    made = iter([Shift(), Shift()])
    for change in (insert_after, insert_before, replace):
        with pytest.raises((ValueError, StopIteration, RuntimeError, TypeError)):
            change(net, nn.BatchNorm2d, lambda m: next(made), inplace=True)
        assert changes(net) == []
        assert net.state_dict().keys() == resnet().state_dict().keys()


# State dicts.


def test_a_state_dict_of_the_original_loads_and_one_of_the_changed_model_too():
    original, x = resnet(), image()
    net = insert_after(ResNet(), "layer?.?", cbam)  # other weights
    net = replace(net, nn.Dropout2d, lambda m: DropBlock2d(m.p)).eval()
    with torch.no_grad():
        for change in changes(net):
            for parameter in net.get_submodule(change.name).parameters():
                parameter.fill_(0.3)
    reported = {key for change in changes(net) for key in change.keys}
    expected = {re.sub(r"^(layer.\..)\.", r"\1.host.", key) for key in original.state_dict()}
    assert net.state_dict().keys() - reported == expected
    assert net.state_dict().keys() - expected == reported
    assert len(reported) == 4 * 4
    for assign in (False, True):
        state = original.state_dict()
        assert str(net.load_state_dict(state, assign=assign)) == "<All keys matched successfully>"
        assert state.keys() == original.state_dict().keys()
        back = undo(net).state_dict()
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], value) for key, value in state.items())
        assert all((net.state_dict()[key] == 0.3).all() for key in reported)
    again = insert_after(resnet(), "layer?.?", cbam)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))


def as_before_insertions(state):
    """Keys as those of networks whose layers hung on hooks, in an earlier version."""
    return {key.replace(".host.", "."): value for key, value in state.items()}


def test_state_dicts_of_an_earlier_version_load():
    def changed():
        net = insert_after(ResNet(), nn.Conv2d, lambda m: IdentityStart(SpatialAttention()))
        return insert_before(insert_after(net, "layer?.?", cbam), "layer1.0", cbam_of_8)

    first, second = changed(), changed()
    nn.init.normal_(first.layer1[0].inserted_after[0].alpha)
    old = as_before_insertions(first.state_dict())
    assert "layer1.0.conv1.inserted_after.0.alpha" in old
    second.load_state_dict(old)
    assert all(torch.equal(second.state_dict()[k], v) for k, v in first.state_dict().items())


def test_a_state_dict_with_a_part_of_a_layer_does_not_load():
    net = insert_after(resnet(), "fc", lambda m: nn.Linear(5, 5))
    state = net.state_dict()
    del state["fc.inserted_after.0.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*fc\.inserted_after\.0\.bias"):
        net.load_state_dict(state)
    state["fc.inserted_after.0.other"] = state.pop("fc.inserted_after.0.weight")
    with pytest.raises(RuntimeError, match=r"Missing key[^$]*fc.inserted_after.0.weight"):
        net.load_state_dict(state)
    del state["fc.inserted_after.0.other"], state["fc.host.weight"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "fc.host.weight"'):
        net.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "fc.host.other"'):
        net.load_state_dict(resnet().state_dict() | {"fc.other": torch.ones(1)})


def test_a_state_dict_with_some_of_the_layers_loads_with_one_warning():
    first = insert_after(resnet(), "fc", lambda m: Parameter())
    both = insert_after(first, "fc", lambda m: Parameter())
    both = insert_after(both, "layer?.0", lambda m: Parameter())
    with torch.no_grad():
        first.fc.inserted_after[0].weight.fill_(3)
    with pytest.warns(UserWarning, match="load_state_dict: ResNet was given weights") as warned:
        both.load_state_dict(first.state_dict())
    assert len(warned) == 1
    kept = ", ".join(
        f"{place} (Parameter)"
        for place in (
            "layer1.0.inserted_after.0",
            "layer2.0.inserted_after.0",
            "fc.inserted_after.1",
        )
    )
    assert f"none of {kept}: these kept" in str(warned[0].message)
    assert [layer.weight.item() for layer in both.fc.inserted_after] == [3, 1]
    both.load_state_dict(resnet().state_dict())
    both.load_state_dict(both.state_dict())
    inner = nn.Sequential(both)
    with pytest.warns(UserWarning, match=r"none of 0.layer1.0.inserted_after.0 \(Parameter\)"):
        inner.load_state_dict({f"0.{key}": value for key, value in first.state_dict().items()})
    undo(both, inplace=True).load_state_dict(resnet().state_dict())
    assert not any(module._load_state_dict_post_hooks for module in both.modules())


def test_a_warning_names_replaced_layers_too():
    def group_norm(module):
        return nn.GroupNorm(2, module.num_features)

    one = replace(resnet(), "layer1.0.bn1", group_norm)
    two = replace(one, "layer1.0.bn2", group_norm)
    with pytest.warns(UserWarning, match=r"none of layer1\.0\.bn2 \(GroupNorm\): these kept"):
        two.load_state_dict(one.state_dict())
    same = replace(resnet(), nn.Linear, lambda m: nn.Linear(16, 5))  # takes the original's
    insert_after(same, "fc", lambda m: Parameter()).load_state_dict(resnet().state_dict())


def test_entries_of_a_replaced_module_go_to_that_module():
    original = resnet()
    net = replace(ResNet(), "layer1.0.bn1", lambda m: nn.GroupNorm(2, m.num_features))
    before = copy.deepcopy(net.layer1[0].bn1.state_dict())
    net.load_state_dict(original.state_dict())
    after = net.layer1[0].bn1.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    restored = undo(net)
    assert all(torch.equal(restored.state_dict()[k], v) for k, v in original.state_dict().items())
    net.load_state_dict(net.state_dict())  # its own


@pytest.mark.parametrize("assign", [False, True])
def test_a_layer_around_the_replaced_module_loads_its_entries(assign):
    original, x = resnet(), image()
    net = replace(ResNet().eval(), "layer1.0.conv2", lambda conv: nn.Sequential(conv, Scale(1)))
    net.load_state_dict(original.state_dict(), assign=assign)
    assert torch.equal(net(x), original(x))
    assert torch.equal(undo(net)(x), original(x))


def test_a_replacement_with_the_same_keys_loads_them():
    original = resnet()
    nn.init.normal_(original.layer1[0].bn1.weight)
    net = replace(ResNet(), nn.BatchNorm2d, lambda m: nn.BatchNorm2d(m.num_features, eps=1e-3))
    net.load_state_dict(original.state_dict())
    assert torch.equal(net.layer1[0].bn1.weight, original.layer1[0].bn1.weight)


class WithMore(nn.Linear):
    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features)
        self.more = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("where", "factory"),
    [
        ("layer1.0.conv1", lambda m: nn.Conv2d(8, 8, 3, padding=1)),  # with a bias more
        ("layer1.0.conv1", lambda m: nn.Conv2d(8, 8, 5, padding=2, bias=False)),
        ("fc", WithMore),
    ],
)
def test_a_replacement_that_the_entries_do_not_fit_keeps_its_weights(where, factory):
    original = resnet()
    net = replace(ResNet(), where, factory)
    before = copy.deepcopy(net.get_submodule(where).state_dict())
    net.load_state_dict(original.state_dict())
    after = net.get_submodule(where).state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    weight = undo(net).get_submodule(where).weight
    assert torch.equal(weight, original.get_submodule(where).weight)
    net.load_state_dict(net.state_dict())


class WithExtraState(nn.Module):
    def __init__(self, note):
        super().__init__()
        self.note = note

    def get_extra_state(self):
        return {"note": self.note}

    def set_extra_state(self, state):
        self.note = state["note"]


def test_extra_state_goes_with_the_entries():
    original = nn.Sequential(WithExtraState("original"))
    net = replace(nn.Sequential(WithExtraState("old")), "0", lambda m: WithExtraState("new"))
    net.load_state_dict(original.state_dict())
    assert net[0].note == "original"  # it fits
    net = replace(nn.Sequential(WithExtraState("old")), "0", lambda m: nn.Identity())
    net.load_state_dict(original.state_dict())
    assert undo(net)[0].note == "original"


def test_a_lazy_replacement_takes_the_entries():
    net = replace(ResNet(), "fc", lambda m: nn.LazyLinear(5))
    net.load_state_dict(resnet().state_dict())
    assert torch.equal(net.fc.weight, resnet().fc.weight)


def test_gaps_and_keys_of_nobody_are_reported_as_ever():
    net = replace(ResNet(), nn.BatchNorm2d, lambda m: nn.GroupNorm(2, m.num_features))
    state = resnet().state_dict()
    del state["stem.1.running_var"]
    with pytest.raises(
        RuntimeError, match=r'Missing key\(s\) in state_dict: "stem.1.running_var"\.'
    ):
        net.load_state_dict(state)
    state = resnet().state_dict() | {"stem.1.other": torch.ones(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"stem\.1\.running_mean'):
        net.load_state_dict(state)


class Versioned(nn.Module):
    """Its first version had the other sign."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = -state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_entries_of_a_replaced_module_keep_their_version():
    original = nn.Sequential(Versioned())
    net = replace(original, "0", lambda m: nn.Identity())
    net.load_state_dict(original.state_dict())
    assert undo(net)[0].weight.item() == 1


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_sharded_entries_of_a_replaced_module_find_it(one_process_group):
    original = resnet()
    nn.init.normal_(original.layer1[0].bn1.weight)
    net = replace(ResNet(), nn.BatchNorm2d, lambda m: nn.GroupNorm(2, m.num_features))
    for part in (net.layer1, net.layer2, net):
        fully_shard(part, mesh=one_process_group)
    whole = StateDictOptions(full_state_dict=True)
    set_model_state_dict(net, original.state_dict(), options=whole)
    assert torch.equal(net.layer1[0].conv1.weight.full_tensor(), original.layer1[0].conv1.weight)
    assert torch.equal(
        net.layer1[0].bn1._surgery_mark.replaced.weight, original.layer1[0].bn1.weight
    )


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_sharded_network_with_inserted_layers_takes_its_own_state_dict_whole(one_process_group):
    trained = insert_after(resnet(), Block, cbam)
    net = insert_after(ResNet(), Block, cbam)
    for part in (net.layer1, net.layer2, net):
        fully_shard(part, mesh=one_process_group)
    whole = StateDictOptions(full_state_dict=True)
    set_model_state_dict(net, trained.state_dict(), options=whole)
    found = get_model_state_dict(net, options=whole)
    assert found.keys() == trained.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in trained.state_dict().items())
    with pytest.raises(RuntimeError, match=r"layer1\.0\.host\.conv1\.weight"):  # no silent loss
        set_model_state_dict(net, resnet().state_dict(), options=whole)


def test_a_layer_at_a_checkpointed_module_is_kept_by_what_is_wrapped():
    original, x = nn.Sequential(checkpoint_wrapper(nn.Conv2d(3, 8, 1))), image()
    net = insert_after(original, "0", lambda m: IdentityStart(CBAM(8)))
    assert torch.equal(net(x), original(x))
    added = {key for change in changes(net) for key in change.keys}
    assert net.state_dict().keys() - added == {"0.host.weight", "0.host.bias"}
    net.load_state_dict(net.state_dict())
    net.load_state_dict(original.state_dict())
    assert repr(undo(net)) == repr(original)
    assert undo(net).state_dict().keys() == original.state_dict().keys()


def test_a_layer_that_was_taken_out_forgets():
    linear, layer = nn.Linear(5, 5), Parameter()
    net = replace(resnet(), "fc", lambda m: linear)
    net = insert_after(net, "fc", lambda m: layer, inplace=True)
    undo(net, inplace=True)
    for one in (linear, layer):
        assert changes(nn.Sequential(one)) == []
        with pytest.raises(RuntimeError, match="Missing key"):
            one.load_state_dict({})


def test_entries_of_a_module_that_was_replaced_twice_go_to_the_first():
    original = resnet()
    nn.init.normal_(original.fc.weight)
    net = replace(ResNet(), "fc", lambda m: nn.Identity())
    net = replace(net, "fc", lambda m: Parameter())
    net.load_state_dict(original.state_dict())
    assert torch.equal(undo(net).fc.weight, original.fc.weight)


def test_entries_of_a_replaced_module_in_a_replaced_module_find_it():
    original = resnet()
    nn.init.normal_(original.layer1[0].bn1.weight)
    net = replace(ResNet(), "layer1.0.bn1", lambda m: nn.GroupNorm(1, 8, affine=False))
    net = replace(net, "layer1.0", lambda m: nn.Identity())
    net.load_state_dict(original.state_dict())
    back = undo(net)
    assert torch.equal(back.layer1[0].bn1.weight, original.layer1[0].bn1.weight)
    assert torch.equal(back.layer1[0].conv1.weight, original.layer1[0].conv1.weight)


def test_an_old_state_dict_loads_as_it_did():
    old = {k: v for k, v in resnet().state_dict().items() if "num_batches" not in k}
    ResNet().load_state_dict(old)
    net = replace(ResNet(), nn.BatchNorm2d, lambda m: nn.GroupNorm(2, m.num_features))
    net.load_state_dict(old)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"stem.1.weight"):
        net.load_state_dict({k: v for k, v in old.items() if not k.startswith("stem.1")})
    assert len(net.load_state_dict({}, strict=False).missing_keys) == len(net.state_dict())
    part = {"stem.1.running_mean": torch.full((8,), 3.0)}
    net.load_state_dict(part, strict=False)
    assert undo(net).stem[1].running_mean[0] == 3
    net.load_state_dict({"stem.1.weight": torch.full((8,), 3.0)}, strict=False)
    assert net.stem[1].weight[0] == 3


def test_a_layer_without_memory_is_reported_as_missing():
    with torch.device("meta"):
        net = ResNet()
    net = insert_after(net, "fc", lambda m: Parameter())
    state = resnet().state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key.*fc\.inserted_after\.0\.weight"):
        net.load_state_dict(state, assign=True)
    found = net.load_state_dict(state, assign=True, strict=False)
    assert found.missing_keys == ["fc.inserted_after.0.weight"]


def test_loading_by_assignment_leaves_the_parameters_of_new_layers_where_they_are():
    net = insert_after(resnet(), "fc", lambda m: Parameter())
    weight = net.fc.inserted_after[0].weight
    net.load_state_dict(resnet().state_dict(), assign=True)
    assert net.fc.inserted_after[0].weight is weight
    with torch.device("meta"):
        net = ResNet()
    net = replace(net, "layer1.0", lambda m: nn.Sequential(m))
    net.load_state_dict(resnet().state_dict(), assign=True)
    assert {p.device.type for p in net.parameters()} == {"cpu"}


# Undone, copied, moved.


def test_undone_it_is_the_original():
    original, x = resnet(), image()
    net = insert_after(original, nn.Conv2d, lambda m: DropBlock2d(0.2, 3))
    net = insert_before(net, "layer1", lambda m: Scale(2))
    net = insert_after(net, Block, cbam)
    net = replace(net, nn.Dropout2d, lambda m: nn.Sequential(Scale(3), nn.ReLU()))
    net = insert_after(net, "dropout", lambda m: Scale(2))
    assert not torch.equal(net(x), original(x))
    back = undo(net)
    assert torch.equal(back(x), original(x))
    assert repr(back) == repr(original)
    assert back.state_dict().keys() == original.state_dict().keys()
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in back.modules()] == [0] * 37
    again = insert_after(back, nn.Conv2d, lambda m: Scale(2))
    assert len(changes(again)) == 10


def test_replaced_modules_in_replaced_modules_come_back():
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())))
    changed = replace(net, "0.**", lambda m: Scale(2))
    assert isinstance(changed[0], Scale)
    assert repr(undo(changed)) == repr(net)


def test_replaced_modules_come_back_in_the_mode_of_the_network():
    net = replace(resnet(), nn.Dropout2d, lambda m: DropBlock2d(m.p))
    net = replace(net, "layer1.0", lambda m: nn.Sequential(m, Scale(2))).train()
    net.layer1[0][0].eval()
    net.layer2[0].bn1.eval()
    net = replace(net, "layer2.0", lambda m: Scale(2))
    back = undo(net)
    assert back.dropout.training
    assert not back.layer1[0].training  # it was there, within its replacement
    assert back.layer2[0].training
    assert not back.layer2[0].bn1.training  # as it was


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle, through_file])
def test_copies_carry_their_changes(copied):
    net = insert_after(resnet(training=True), nn.BatchNorm2d, lambda m: DropBlock2d(0.3, 3))
    net = insert_before(net, "layer2", cbam_of_8)
    net = replace(net, nn.Dropout2d, lambda m: DropBlock2d(m.p))
    other = copied(net)
    assert changes(other) == changes(net)
    outputs = []
    for model in (net, other):
        torch.manual_seed(0)
        outputs.append(model(image()))
    assert torch.equal(*outputs)
    other = undo(other)
    assert repr(other) == repr(resnet(training=True))
    assert len(changes(net)) == 12  # a copy's changes are its own
    torch.manual_seed(0)
    assert not torch.equal(other(image()), outputs[0])


def cbam_of_8(module):
    return IdentityStart(CBAM(8))


def test_a_layer_gets_mode_dtype_and_device():
    net = resnet(training=True).to(torch.bfloat16)
    net.layer1.eval()
    net = insert_after(net, Block, lambda m: CBAM(out_channels(m), norm=nn.BatchNorm2d))
    layer = net.layer1[1].inserted_after[0]
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert layer.spatial.norm.num_batches_tracked.dtype == torch.int64
    assert not any(m.training for m in net.layer1.modules())
    assert all(m.training for m in net.layer2.modules())
    with torch.device("meta"):
        empty = ResNet()
    empty = insert_after(empty, nn.Conv2d, lambda m: CBAM(m.out_channels))
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    quantised = nn.Module()
    quantised.register_buffer("codes", torch.zeros(2, dtype=torch.int32))
    quantised.register_buffer("bytes", torch.zeros(2).to(torch.float8_e4m3fn))
    quantised.register_buffer("scale", torch.zeros(2, dtype=torch.float64))
    layer = insert_after(quantised, "", lambda m: CBAM(8)).inserted_after[0]
    assert {p.dtype for p in layer.parameters()} == {torch.float64}
    net = replace(net, nn.Dropout2d, lambda m: CBAM(16))  # it has no tensor: as the network
    assert {p.dtype for p in net.dropout.parameters()} == {torch.bfloat16}


def test_what_a_layer_wraps_keeps_its_mode_and_dtype():
    net = resnet(training=True)
    net.layer1[0].bn1.eval()
    net.layer1[0].double()
    net.layer1[0].bn1.float()
    net = replace(net, "layer1.0", lambda m: IdentityStart(m))
    assert not net.layer1[0].layer.bn1.training
    assert net.layer1[0].layer.bn1.weight.dtype == torch.float32
    assert net.layer1[0].alpha.dtype == net.layer1[0].layer.conv1.weight.dtype == torch.float64


def test_hooks_of_the_user_see_what_the_layers_make():
    net, seen, x = nn.Sequential(nn.ReLU()), [], torch.ones(1)
    net[0].register_forward_hook(lambda module, args, output: seen.append(output.item()))
    net[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].item()))
    net = insert_after(net, "0", lambda m: Scale(2))
    net = insert_before(net, "0", lambda m: Scale(10))
    assert net(x).item() == 20
    assert seen == [10, 20]


def test_a_replaced_child_runs_where_torch_skips_children_without_hooks():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    net = replace(encoder, nn.ReLU, lambda m: nn.Tanh())
    wrapped = replace(encoder, "linear1", lambda m: nn.Sequential(m, Scale(2)))
    with torch.no_grad():
        assert not torch.allclose(net(x), encoder(x))
        assert not torch.allclose(wrapped(x), encoder(x))
        assert torch.equal(undo(net)(x), encoder(x))
    assert len(undo(net).activation._forward_hooks) == 0


def test_hooks_of_the_user_stay():
    net, seen = resnet(), []
    net.layer1.register_forward_hook(lambda module, args, output: seen.append(output))
    changed = insert_after(net, "layer1.1", lambda m: Scale(2))
    changed = undo(changed)
    changed(image())
    assert len(seen) == 1


# Start as the identity.


@pytest.mark.parametrize("make", [CBAM, EfficientChannelAttention])
def test_outputs_at_step_0_are_the_networks(make):
    original, x = resnet(), image()
    net = insert_after(original, Block, lambda m: IdentityStart(make(out_channels(m))))
    assert torch.equal(net(x), original(x))
    added = [key for change in changes(net) for key in change.keys]
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(2):  # the first step moves alpha, the second the layer's own weights
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    assert [key for key in added if torch.equal(net.state_dict()[key], before[key])] == []


# Recorded by FX: each layer is a node.


def test_a_graph_of_fx_runs_the_layers():
    net, x = insert_after(resnet(), nn.Conv2d, lambda m: DropBlock2d(0.3, 3)), image()
    net = insert_before(net, Block, lambda m: Scale(2))
    graph = torch.fx.symbolic_trace(net)
    assert torch.equal(graph(x), net(x))
    assert not torch.equal(graph.train()(x), graph(x))
    assert torch.equal(graph.eval()(x), graph(x))
    called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert called[:3] == ["stem.0.host", "stem.0.inserted_after.0", "stem.1"]
    assert changes(graph) == []


def test_changes_of_a_compiled_network_are_listed_once():
    net = torch.compile(insert_after(resnet(), "", lambda m: Shift()), backend="eager")
    assert [change.name for change in changes(net)] == ["_orig_mod.inserted_after.0"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("where", [Block, nn.Conv2d, nn.BatchNorm2d])
def test_fusion_of_convolution_and_normalisation_keeps_the_layers(where):
    from torch.fx.experimental.optimization import fuse

    net, x = insert_after(resnet(), where, lambda m: SpatialAttention()), image()
    fused = fuse(net)
    apart = sum(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert apart == (10 if where is nn.Conv2d else 0)  # a layer between them keeps them apart
    torch.testing.assert_close(fused(x), net(x))
    assert not torch.allclose(net(x), resnet()(x))
