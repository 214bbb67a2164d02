"""What tools and code that look into modules make of inserted layers.

Each case stands for what others' code does with modules: it swaps, wraps, reads, calls and copies
them, or looks for their hooks.
"""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch_resnet import ResNet

from torchattn_blocks import (
    CBAM,
    DropBlock2d,
    IdentityStart,
    SpatialAttention,
    changes,
    insert_after,
    insert_before,
    out_channels,
    replace,
    report,
    undo,
)
from torchattn_blocks.surgery._insertion import Insertion, attributes

of_torch_ao = pytest.mark.filterwarnings(
    "ignore:torch.ao.quantization is deprecated:DeprecationWarning",
    "ignore:torch.quantize_per_tensor:UserWarning",
    "ignore:Please use quant_min:UserWarning",
)
COPIES = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


def resnet():
    torch.manual_seed(0)
    return ResNet().eval()


def image():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Scale(nn.Module):
    """Multiplies by a weight, so that a test sees whether it ran."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return x * self.weight


def scaled(where, insert=insert_after, net=None):
    return insert(net or resnet(), where, lambda m: Scale())


# Tools that swap modules.


def test_conversion_to_synchronised_batch_norm_keeps_the_layers():
    net, x = scaled(nn.BatchNorm2d), image()
    listed, expected = changes(net), net(x)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in converted.modules()) == 10
    assert changes(converted) == listed
    for other in (converted, *(copied(converted) for copied in COPIES)):
        torch.testing.assert_close(other(x), expected)
        assert changes(undo(other)) == []
    torch.optim.swa_utils.AveragedModel(converted)
    again = insert_after(converted, nn.SyncBatchNorm, lambda m: Scale(), inplace=True)
    assert len(changes(again)) == 20
    assert not torch.allclose(again(x), expected)


@of_torch_ao
def test_quantisation_of_linear_layers_keeps_the_layers():
    net, x = scaled("fc"), image()
    expected = net(x)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    assert isinstance(quantised.fc.host, torch.ao.nn.quantized.dynamic.Linear)
    torch.testing.assert_close(quantised(x), expected, atol=0.1, rtol=0.1)
    assert [str(change) for change in changes(quantised)] == ["Scale after fc"]


@of_torch_ao
def test_quantisation_aware_training_keeps_the_layers():
    net, x = scaled(nn.Conv2d).train(), image()
    net.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
    prepared = torch.ao.quantization.prepare_qat(net)
    assert isinstance(prepared.stem[0].host, torch.ao.nn.qat.Conv2d)
    assert len(changes(prepared)) == 10
    prepared(x).sum().backward()
    assert all(m.weight.grad is not None for m in prepared.modules() if isinstance(m, Scale))


@of_torch_ao
def test_fusion_by_name_stops():
    net = scaled("layer1.0.conv1")
    names = [["layer1.0.conv1", "layer1.0.bn1"]]
    with pytest.raises(AssertionError, match=r"did not find fuser method .*Insertion"):
        torch.ao.quantization.fuse_modules(net, names)


# Tools that wrap the weights of a module take `.host`, and say so of the insertion.


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        (lambda m: parametrizations.weight_norm(m), ValueError),
        (lambda m: prune.l1_unstructured(m, "weight", 0.5), KeyError),
    ],
)
def test_tools_for_weights_take_the_host(tool, error):
    net, x = scaled("layer1.0.conv1"), image()
    with pytest.raises(error):
        tool(copy.deepcopy(net).layer1[0].conv1)
    tool(net.layer1[0].conv1.host)
    expected = net(x)
    with torch.no_grad():
        net.layer1[0].conv1.inserted_after[0].weight.fill_(3)
    assert not torch.allclose(net(x), expected)
    assert [str(change) for change in changes(net)] == ["Scale after layer1.0.conv1"]


def test_pruning_before_insertion_goes_on():
    net, changed, x = resnet(), resnet(), image()
    for one in (net, changed):
        prune.l1_unstructured(one.layer1[0].conv1, "weight", 0.5)
    insert_after(changed, "layer1.0.conv1", lambda m: IdentityStart(CBAM(8)), inplace=True)
    assert torch.equal(changed(x), net(x))
    with torch.no_grad():
        for one in (net, changed):
            one.layer1[0].conv1.weight_orig.mul_(2)
    assert torch.equal(changed(x), net(x))
    prune.remove(changed.layer1[0].conv1.host, "weight")
    assert torch.equal(changed(x), net(x))


class BaseTunerLayer:
    """As the base class of PEFT's layers is called."""


class Lora(nn.Module, BaseTunerLayer):
    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x):
        return self.base_layer(x)


@pytest.mark.parametrize("where", ["fc", "fc.base_layer", nn.Linear, "layer1.0.extra.base_layer"])
def test_what_peft_has_wrapped_is_refused(where):
    net = resnet()
    net.fc, net.layer1[0].extra = Lora(net.fc), Lora(nn.Sequential(nn.ReLU()))
    for insert in (insert_after, insert_before):
        message = f"{insert.__name__}: where picks .*Lora of PEFT would lose the layer"
        with pytest.raises(ValueError, match=message):
            scaled(where, insert, net)
    net.base_layer = nn.Identity()  # others have an attribute of that name, too
    scaled("base_layer", net=net)
    scaled(nn.Conv2d, net=net)


def test_a_wrapper_made_later_is_not_taken_for_the_insertion():
    net = scaled("fc")
    net.fc.host = Lora(net.fc.host)
    assert not hasattr(net.fc, "base_layer")


class Wrapper(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return self.layers(x)


def test_layers_that_a_tool_has_wrapped_are_listed_as_one():
    net, x = scaled("fc", net=scaled("fc")), image()
    expected = net(x)
    net.fc.inserted_after = Wrapper(net.fc.inserted_after)
    assert torch.equal(net(x), expected)
    [change] = changes(net)
    assert (str(change), change.name) == ("Wrapper after fc", "fc.inserted_after")
    with report(net) as used:
        net(x)
    assert {use.name: use.calls for use in used.layers if use.kind == "other"} == {
        "fc.inserted_after": 1
    }
    with pytest.raises(ValueError, match="fc, but the layers at it are wrapped by Wrapper: call"):
        scaled("fc", net=net)
    assert len(changes(scaled("fc", insert_before, net))) == 2
    assert repr(undo(net)) == repr(resnet())


# Code of the network that reads, sets or calls what is in the place of a module.


def test_attributes_are_those_of_the_host():
    net = scaled("layer2.0.conv1")
    conv = net.layer2[0].conv1
    assert isinstance(conv, Insertion)
    assert (conv.stride, conv.out_channels, conv.bias) == ((2, 2), 16, None)
    assert conv.weight is conv.host.weight
    conv.stride = (1, 1)
    conv.weight = nn.Parameter(torch.zeros_like(conv.weight))
    conv.bias = nn.Parameter(torch.ones(16))
    assert conv.host.stride == (1, 1)
    assert conv.host(torch.ones(1, 8, 4, 4)).unique().tolist() == [1]
    assert dict(net.named_parameters()).keys() >= {
        "layer2.0.conv1.host.bias",
        "layer2.0.conv1.host.weight",
    }
    del conv.bias
    assert not hasattr(conv.host, "bias")
    conv.host.later = 3
    assert not hasattr(conv, "later")
    with pytest.raises(AttributeError, match="'Insertion' object has no attribute 'other'"):
        conv.other  # noqa: B018
    with pytest.raises(TypeError):
        len(conv)


def test_values_that_code_sets_reach_the_host():
    class Told(nn.Module):
        def forward(self, x):
            return x if getattr(self, "skip", False) else 2 * x

    class Tells(nn.Module):
        def __init__(self):
            super().__init__()
            self.told = Told()

        def forward(self, x, skip):
            self.told.skip = skip
            return self.told(x)

    net = scaled("told", net=Tells())
    for copied in (net, *(copied(net) for copied in (copy.deepcopy,))):
        assert [copied(torch.ones(1), skip).item() for skip in (True, False, True)] == [2, 4, 2]

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.told = Calls()

        def forward(self, x):
            self.told.calls = 0
            self.told(self.told(x))
            return self.told.calls

    class Calls(nn.Module):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            return x

    net = scaled("told", net=Counts())
    assert [net(torch.ones(1)) for _ in range(2)] == [2, 2]
    net = scaled("fc")
    net.fc.function = net.forward
    net.fc.module, net.fc.parameter = nn.Identity(), nn.Parameter(torch.ones(1))
    for name in ("function", "module", "parameter"):
        assert not hasattr(net.fc.host, name)
    back = undo(net).fc
    assert isinstance(back.module, nn.Identity)
    assert "parameter" in dict(back.named_parameters())


def test_modes_that_code_sets_reach_the_host():
    net = scaled(nn.BatchNorm2d, net=resnet().train())
    net.layer1[0].bn1.training = False
    assert not net.layer1[0].bn1.host.training
    assert net.layer1[0].bn1.inserted_after.training

    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    net = scaled("0", net=nn.Sequential(Frozen(2))).train()
    assert (net[0].training, net[0].host.training) == (True, False)


def test_attributes_with_the_name_of_a_method_of_torch():
    host = nn.Linear(2, 2)
    host.type = "linear"
    net = scaled("0", net=nn.Sequential(host))
    assert net[0].type == "linear"
    net[0].type = "other"
    assert net[0].type == net[0].host.type == "other"


def test_it_has_no_names_that_a_host_may_have():
    names = attributes(Insertion(nn.Identity())) - attributes(nn.Identity())
    assert {name for name in names if not name.startswith("_insertion_")} == {"host"}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("where", ["0", ""])
@pytest.mark.parametrize("copied", COPIES)
def test_a_host_that_copies_itself(where, copied):
    """As graph modules do."""
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    net, x = graph if where == "" else nn.ModuleList([graph]), torch.ones(1, 2)
    net = copied(scaled(where, net=scaled(where, net=net)))
    assert len(changes(net)) == 2
    net = net if where == "" else net[0]
    assert torch.equal(net(x), 4 * graph(x))
    assert torch.equal(torch.optim.swa_utils.AveragedModel(net)(x), net(x))


def test_a_host_that_is_fused_in_its_place():
    """As timm does with all children that have a method `fuse`, whatever they are in."""

    class Fuses(nn.Linear):
        def fuse(self):
            fused = nn.Linear(self.in_features, self.out_features)
            fused.load_state_dict(self.state_dict())
            return fused

    def fuse(module):
        for name, child in module.named_children():
            if hasattr(child, "fuse"):
                setattr(module, name, child.fuse())
            else:
                fuse(child)

    net, x = scaled("0", net=nn.Sequential(Fuses(2, 2))), torch.ones(1, 2)
    expected = net(x)
    fuse(net)
    assert type(net[0].host) is nn.Linear
    assert torch.equal(net(x), expected)


def test_undo_where_a_replacement_has_a_layer():
    changed = scaled("fc", net=replace(resnet(), "fc", lambda m: nn.Tanh()))
    assert repr(undo(changed)) == repr(resnet())
    changed = scaled("", net=replace(resnet(), "fc", lambda m: nn.Tanh()))
    assert repr(undo(changed)) == repr(resnet())
    part = scaled("fc", net=replace(resnet(), "fc", lambda m: nn.Tanh())).fc
    assert repr(undo(part)) == repr(resnet().fc)


def test_a_parametrised_host():
    net = resnet()
    parametrizations.weight_norm(net.fc)
    net = scaled("fc", net=net)
    assert not nn.utils.parametrize.is_parametrized(net.fc)
    for module in net.modules():
        if nn.utils.parametrize.is_parametrized(module):
            nn.utils.parametrize.remove_parametrizations(module, "weight")
    assert type(net.fc.host) is nn.Linear


class Stage(nn.Module):
    """Runs over its children, and has one whose name is a number."""

    def __init__(self):
        super().__init__()
        self.first = nn.Identity()
        self.add_module("1", nn.Identity())

    def forward(self, x):
        for child in self.children():
            x = child(x) + 1
        return x

    @property
    def length(self):
        return len(self._modules)

    def forward_features(self, x):
        return self.first(x)


def test_a_host_that_runs_over_its_children():
    net = scaled("", net=Stage())
    assert net(torch.ones(1)).item() == 6
    assert (net.length, net.forward_features(torch.ones(1)).item()) == (2, 1)
    assert net.get_submodule("1") is net.host.get_submodule("1")
    net = scaled("1", net=net)
    assert net(torch.ones(1)).item() == 10
    assert [str(change) for change in changes(net)] == ["Scale after 1", "Scale after the model"]
    names = [name for name, _ in net.named_parameters()]
    assert names == ["host.1.inserted_after.0.weight", "inserted_after.0.weight"]
    for target in changes(net):
        assert net.get_submodule(target.name) is not None
        assert isinstance(net.get_submodule(target.target), Insertion)
    back = undo(net)
    assert (type(back), back(torch.ones(1)).item()) == (Stage, 3)


def test_a_host_whose_forward_is_called():
    class Calls(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Identity()

        def forward(self, x):
            return self.c.forward(x)

    assert scaled("c", net=Calls())(torch.ones(1)).item() == 2


class Lists(nn.Module):
    """Keeps its modules in plain lists and tuples as well, and calls them from there."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Sequential(nn.Identity()) for _ in range(4))
        self.e = nn.Identity()
        self.listed, self.by_name, self.pairs = [self.a, [self.b]], {"c": self.c}, (self.d, "d")
        self.__dict__["hidden"] = self.e
        self.same, self.numbers = self.listed, [1, 2]
        self.listed.append(self.listed)

    def forward(self, x):
        for module in (self.listed[0], self.listed[1][0], self.by_name["c"], self.pairs[0]):
            x = module[0](x)
        return self.hidden(x)


@pytest.mark.parametrize("change", ["insert", "replace"])
@pytest.mark.parametrize("copied", [lambda model: model, *COPIES])
def test_modules_that_are_also_kept_in_lists(change, copied):
    net, x = Lists(), torch.ones(1)
    hosts = lambda name, module: name in ("a", "b", "c", "d", "e")  # noqa: E731
    if change == "insert":
        net = copied(insert_after(net, hosts, lambda m: Scale()))
    else:
        net = copied(replace(net, hosts, lambda m: nn.Sequential(Scale())))
    assert net(x).item() == 32
    assert net.same is net.listed
    assert net.numbers == [1, 2]
    assert undo(net)(x).item() == 1


def test_the_host_is_where_the_network_was():
    net = scaled(nn.BatchNorm2d, net=resnet().train())
    net.layer1.eval()
    assert {m.training for m in net.layer1.modules()} == {False}
    net.layer2[0].bn1.requires_grad_(False)
    assert not net.layer2[0].bn1.host.weight.requires_grad
    net.double()
    assert net.layer2[0].bn1.running_mean.dtype == torch.float64


def test_functional_calls_take_the_names_of_parameters():
    net, x = scaled("fc"), image()
    parameters = {name: p * 0 for name, p in net.named_parameters()}
    assert torch.equal(torch.func.functional_call(net, parameters, x), torch.zeros(2, 5))


def test_a_module_called_host_is_picked_by_its_name():
    net = nn.ModuleDict({"host": nn.Sequential(nn.ReLU(), nn.Tanh())})
    for count in (1, 2):
        net = scaled("host.0", net=net)
        assert [str(change) for change in changes(net)] == ["Scale after host.0"] * count
    assert len(changes(scaled("host.*", net=net))) == 4


def test_names_with_and_without_host_pick_the_module():
    net = scaled("layer1.0")
    before = [str(change) for change in changes(net)]
    for where in ("layer1.0.conv1", "layer1.0.host.conv1", "**.host.conv1"):
        found = [str(change) for change in changes(scaled(where, net=net))]
        assert found == ["Scale after layer1.0.conv1", *before]
    for where in ("layer1.*", "**.conv1", nn.Conv2d, lambda name, m: name not in ("layer1.0", "")):
        picked, names = [], []
        for one, found in ((resnet(), picked), (net, names)):
            insert_after(one, where, lambda m, found=found: found.append(type(m)) or Scale())
        assert picked == names  # those that it picks in the original
    again = scaled("layer1.0.host", net=net)
    assert [str(change) for change in changes(again)] == ["Scale after layer1.0"] * 2
    assert out_channels(net.layer1[0]) == 8


# Hooks.


def test_handles_of_hooks_remove_them_before_and_after():
    net, seen = nn.Sequential(nn.ReLU(), nn.Tanh()), []
    handles = [
        net[0].register_forward_hook(lambda m, args, y: seen.append("after")),
        net[0].register_forward_hook(lambda m, a, k, y: seen.append("kw"), with_kwargs=True),
        net[0].register_forward_hook(lambda m, a, y: seen.append("always"), always_call=True),
        net[0].register_forward_pre_hook(lambda m, args: seen.append("before")),
        net[0].register_full_backward_hook(lambda m, *grads: seen.append("backward")),
    ]
    relu = net[0]
    insert_after(net, "0", lambda m: Scale(), inplace=True)
    net(torch.ones(1, requires_grad=True)).backward()
    assert seen == ["before", "after", "kw", "always", "backward"]
    handles.append(net[0].register_forward_hook(lambda m, args, y: seen.append("late")))
    net[0].register_forward_pre_hook(lambda m, args: seen.append("late before"))
    undo(net, inplace=True)
    assert net[0] is relu
    seen.clear()
    net(torch.ones(1, requires_grad=True)).backward()
    assert seen == ["late before", "before", "after", "kw", "always", "late", "backward"]
    for handle in handles:
        handle.remove()
    seen.clear()
    net(torch.ones(1, requires_grad=True)).backward()
    assert seen == ["late before"]


def test_hooks_that_are_called_whatever_happens():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("stop")

    net, seen = Fails(), []
    net.register_forward_hook(lambda m, x, y: seen.append(y), always_call=True)
    net = scaled("", net=net)
    with pytest.raises(RuntimeError, match="stop"):
        net(torch.ones(1))
    assert seen == [None]


def test_full_backward_hooks_of_an_insertion_stay_with_the_module():
    seen, net = [], scaled("0", net=nn.Sequential(nn.Linear(2, 2)))
    net[0].register_full_backward_hook(lambda m, inner, outer: seen.append(outer[0]))
    for one in (net, undo(net)):
        one(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert len(seen) == 2


def test_full_backward_hooks_of_a_host_see_its_own_gradient():
    seen = []
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_full_backward_hook(lambda m, inner, outer: seen.append(outer[0]))
    insert_after(net, "0", lambda m: Scale(3.0), inplace=True)
    net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert torch.equal(seen[0], torch.full((1, 2), 3.0))


def test_layers_in_a_transformer_run_on_its_fast_path():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    for where in ("linear1", "norm2", "activation", nn.MultiheadAttention):
        factory = (lambda m: First()) if where is nn.MultiheadAttention else (lambda m: Scale())
        net = insert_after(encoder, where, factory)
        with torch.no_grad():
            assert not torch.allclose(net(x), encoder(x), atol=1e-3), where
            assert torch.equal(undo(net)(x), encoder(x))
        assert not any(m._forward_hooks for m in undo(net).modules())
    stack = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False).eval()
    net = scaled("layers.0", net=stack)
    with torch.no_grad():
        assert not torch.allclose(net(x), stack(x), atol=1e-3)


class First(nn.Module):
    """For what returns a tuple."""

    def forward(self, outputs):
        return (outputs[0] * 2, *outputs[1:])


# State dicts: what they say of versions.


class Versioned(nn.Module):
    """Its first version had the other sign."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = -state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Versioned()

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("where", ["0", "0.inner", "**"])
@pytest.mark.parametrize("nested", [False, True])
def test_modules_in_a_host_load_by_their_version(where, nested):
    original = nn.Sequential(Holder())
    net = scaled(where, net=original)
    if nested:
        original, net = nn.ModuleDict({"net": original}), nn.ModuleDict({"net": net})
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    state = torch.load(file)
    net.load_state_dict(state)
    original.load_state_dict(state)
    net.load_state_dict(net.state_dict())
    for one in (net, original):
        assert next(p.item() for name, p in one.named_parameters() if "inner" in name) == 1


def test_a_root_with_layers_loads_by_version():
    net = scaled("", net=Holder())
    net.load_state_dict(Holder().state_dict())
    assert net.host.inner.weight.item() == 1


def test_what_tools_add_to_the_insertion_loads():
    net = scaled("fc")
    net.fc.register_buffer("total_ops", torch.zeros(1))
    net.load_state_dict(net.state_dict())


def test_children_stand_in_the_order_in_which_they_run():
    net = scaled("fc", insert_before, scaled("fc"))
    assert list(net.fc._modules) == ["inserted_before", "host", "inserted_after"]


def test_undo_of_a_replacement_that_has_a_layer_at_itself():
    net = nn.Sequential(nn.ReLU(), nn.Identity())
    net = replace(net, "0", lambda m: scaled("", net=nn.Tanh()))
    assert repr(undo(net)) == repr(nn.Sequential(nn.ReLU(), nn.Identity()))


def test_undo_finds_a_module_that_a_replaced_one_refers_to():
    net = nn.Sequential(nn.ReLU(), nn.Identity())
    net[0].__dict__["peer"] = net[1]
    net = undo(replace(scaled("1", net=net), "0", lambda m: nn.Tanh()))
    assert net[0].peer is net[1]


def test_a_warning_that_counts_replaced_modules_in_replaced_ones():
    norm = replace(resnet(), "layer1.0.bn1", lambda m: nn.GroupNorm(1, 8))
    net = scaled("stem.0", net=replace(norm, "layer1.0", lambda m: Scale()))
    state = scaled("stem.0").state_dict()
    with pytest.warns(UserWarning, match=r"none of layer1\.0 \(Scale\): these kept"):
        net.load_state_dict(state)


class Wrap(nn.Module):
    """Takes the place of a module, with a weight of its own."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.weight = inner, nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.inner(x) * self.weight


@pytest.mark.parametrize(
    "change",
    [
        lambda net: insert_after(net, "0.inner.0", lambda m: nn.PReLU()),
        lambda net: insert_after(net, "0.inner.1", lambda m: nn.PReLU()),
        lambda net: insert_before(net, "0", lambda m: nn.PReLU()),
        lambda net: replace(net, "0", Wrap),
        lambda net: replace(net, "0.inner.1", lambda m: nn.PReLU()),
    ],
)
def test_the_original_loads_into_what_wraps_its_modules_and_their_layers(change):
    original = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    net = change(replace(copy.deepcopy(original), "0", Wrap))
    nn.init.constant_(original[0][0].weight, 3.0)
    net.load_state_dict(original.state_dict())  # no warning
    assert (undo(net)[0][0].weight == 3).all()
    net.load_state_dict(net.state_dict())


def test_networks_changed_in_parts_warn_once():
    net = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.ReLU()))
    for part in net:
        insert_after(part, "?", lambda m: Scale(), inplace=True)
    state = net.state_dict()
    del state["1.0.inserted_after.0.weight"]
    with pytest.warns(UserWarning, match="none of 1.0.inserted_after.0") as warned:
        net.load_state_dict(state)
    assert len(warned) == 1
    state = net.state_dict()
    del state["0.0.inserted_after.0.weight"]
    with pytest.warns(UserWarning, match="none of 0.0.inserted_after.0") as warned:
        net.load_state_dict(state)
    assert len(warned) == 1


def test_a_layer_of_batch_norm_that_is_swapped_itself():
    net = insert_after(resnet(), "layer1.0.conv1", lambda m: nn.BatchNorm2d(8))
    net = insert_after(net, "layer1.0.conv2", lambda m: DropBlock2d(0.2, 3))
    net = insert_before(net, "layer1.0.conv2", lambda m: SpatialAttention())
    listed = [(change.how, change.target) for change in changes(net)]
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert [(change.how, change.target) for change in changes(net)] == listed
    assert repr(undo(net)) == repr(nn.SyncBatchNorm.convert_sync_batchnorm(resnet()))


def test_fx_needs_a_module_around_a_network_with_a_layer_at_itself():
    net, x = scaled("", net=Holder()), torch.ones(1)
    with pytest.raises(torch.fx.proxy.TraceError, match="Proxy object cannot be iterated"):
        torch.fx.symbolic_trace(net)
    assert torch.equal(torch.fx.symbolic_trace(nn.Sequential(net))(x), net(x))
