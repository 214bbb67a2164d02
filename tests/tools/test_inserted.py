"""Others' tools lose no layer that is inserted in a network.

Each result is that of a network in which the layer is written in, or is worked out here, and is
clearly another one than without the layer. `tools.txt` lists the tools.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch_resnet import ResNet

from torchattn_blocks import (
    BAM,
    CBAM,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    DropBlock2d,
    EfficientChannelAttention,
    GlobalContext,
    SpatialAttention,
    SqueezeExcite,
    TripletAttention,
    UNet,
    changes,
    insert_after,
    insert_before,
    out_channels,
    rsan,
    rsan_stage,
    undo,
)
from torchattn_blocks.surgery._insertion import Insertion, layers_of

pytestmark = pytest.mark.slow


def resnet():
    torch.manual_seed(0)
    return ResNet().eval()


def plain_chain():
    """A network without what opacus and captum refuse: batch norm, and a ReLU used twice."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


def image():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def cbam(module):
    return CBAM(out_channels(module), hidden_channels=8)


def squeeze_excite(module):
    return SqueezeExcite(out_channels(module), hidden_channels=4)


def written_in(model):
    """A copy of the network, with the layers in its own code."""
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, Insertion):
            model.set_submodule(name, nn.Sequential(module.host, *layers_of(module, "after")))
    assert changes(model) == []
    return model


def listed(model):
    return [str(change) for change in changes(model)]


def assert_felt(model, x):
    """The layers are in the network, and each output is clearly another one without them."""
    with torch.no_grad():
        found, without = model(x), undo(model)(x)
    assert ((found - without).norm(dim=1) > 0.01 * without.norm(dim=1)).all()


# peft.


def with_lora(model, **options):
    """The network with LoRA, trained for some steps in evaluation mode, so that LoRA is felt."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    tuned = peft.get_peft_model(model, peft.LoraConfig(**options)).eval()
    trained = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(tuned(image()), torch.tensor([1, 3])).backward()
        optimizer.step()
    wrapped = {
        name.removeprefix("base_model.model."): module
        for name, module in tuned.named_modules()
        if hasattr(module, "lora_A")
    }
    assert all(m.lora_B["default"].weight.abs().max() > 0 for m in wrapped.values())
    return tuned, set(wrapped)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["layer1.0.conv1.host", "fc"], {"layer1.0.conv1.host", "fc"}),
        (r".*\.host", {"stem.0.host", "layer1.0.conv1.host"}),
        (
            "all-linear",
            {"layer1.0.conv1.inserted_after.0.fc1", "layer1.0.conv1.inserted_after.0.fc2", "fc"},
        ),
    ],
    ids=["names", "regex", "all-linear"],
)
def test_lora_merges_beside_the_layers(targets, expected):
    net, x = insert_after(resnet(), "layer1.0.conv1", squeeze_excite), image()
    insert_after(net, "stem.0", lambda m: SpatialAttention(), inplace=True)
    before, names = net(x), listed(net)
    tuned, wrapped = with_lora(net, target_modules=targets)
    assert wrapped == expected
    unmerged = tuned(x)
    assert (unmerged - before).abs().max() > 1e-3
    assert_felt(tuned, x)
    merged = tuned.merge_and_unload()
    assert (merged(x) - unmerged).abs().max() < 1e-5
    assert listed(merged) == names
    assert names == ["SpatialAttention after stem.0", "SqueezeExcite after layer1.0.conv1"]
    assert_felt(merged, x)


def test_lora_refuses_the_insertion_itself():
    peft = pytest.importorskip("peft")
    net = insert_after(resnet(), "layer1.0.conv1", cbam)
    for targets in (["conv1"], ["layer1.0.conv1", "fc"]):
        with pytest.raises(ValueError, match=r"Target module Insertion[\s\S]* is not supported"):
            peft.get_peft_model(net, peft.LoraConfig(target_modules=targets))


def test_a_layer_of_peft_takes_no_other():
    peft = pytest.importorskip("peft")
    tuned = peft.get_peft_model(resnet(), peft.LoraConfig(target_modules=["fc", "layer1.0.conv1"]))
    for where in ("**.fc", nn.Linear, "**.layer1.0.conv1"):
        for insert in (insert_after, insert_before):
            with pytest.raises(ValueError, match="of PEFT would lose the layer"):
                insert(tuned, where, lambda m: nn.Identity())


@pytest.mark.parametrize("saved", ["inserted_after", "inserted_after.0"])
def test_peft_trains_the_layers_too(saved):
    net, x = insert_after(resnet(), "layer1.0.conv1", cbam), image()
    old = copy.deepcopy(net.layer1[0].conv1.inserted_after[0])
    tuned, _ = with_lora(net, target_modules=["fc"], modules_to_save=[saved])
    unmerged = tuned(x)
    assert listed(tuned) == ["ModulesToSaveWrapper after base_model.model.layer1.0.conv1"]
    merged = tuned.merge_and_unload()
    assert (merged(x) - unmerged).abs().max() < 1e-5
    assert listed(merged) == ["CBAM after layer1.0.conv1"]
    new = merged.layer1[0].conv1.inserted_after[0]
    assert not torch.equal(new.spatial.conv.weight, old.spatial.conv.weight)
    assert_felt(merged, x)


# opacus.

of_opacus = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing when gradients are computed:UserWarning"
)


@of_opacus
@pytest.mark.parametrize(
    "factory",
    [
        squeeze_excite,
        lambda m: ConcurrentSqueezeExcite(8, hidden_channels=4),
        lambda m: EfficientChannelAttention(8),
        lambda m: ChannelAttention(8, hidden_channels=4),
        lambda m: SpatialAttention(),
        cbam,
        lambda m: GlobalContext(8, fusion="scale"),
        lambda m: CoordinateAttention(8, norm=None),
        lambda m: TripletAttention(norm=None),
        lambda m: BAM(8, norm=None, channel_norm=nn.LayerNorm, hidden_channels=3),
        lambda m: nn.Conv2d(8, 8, 1),
    ],
    ids=[
        "SqueezeExcite",
        "ConcurrentSqueezeExcite",
        "EfficientChannelAttention",
        "ChannelAttention",
        "SpatialAttention",
        "CBAM",
        "GlobalContext",
        "CoordinateAttention",
        "TripletAttention",
        "BAM",
        "Conv2d",
    ],
)
def test_gradients_of_each_sample_by_opacus(factory):
    opacus = pytest.importorskip("opacus")
    net, x = insert_after(plain_chain(), nn.Conv2d, factory).train(), image()
    assert_felt(net, x)
    private = opacus.GradSampleModule(copy.deepcopy(net), loss_reduction="sum")
    private(x).square().sum().backward()
    assert len(changes(private)) == 2
    found = {name: p.grad_sample for name, p in private._module.named_parameters()}
    for at, sample in enumerate(x):
        net.zero_grad()
        net(sample[None]).square().sum().backward()
        expected = {name: p.grad for name, p in net.named_parameters()}
        assert all(grad.abs().max() > 0 for grad in expected.values())
        torch.testing.assert_close({name: grads[at] for name, grads in found.items()}, expected)


def without_batch_norm(attention):
    """RSAN for opacus, which refuses batch normalisation."""
    stage = rsan_stage(p=0, norm=lambda channels: nn.GroupNorm(1, channels), attention=attention)
    return UNet(3, 1, widths=(4, 8), stage=stage)


@of_opacus
@pytest.mark.parametrize(
    "make",
    [
        lambda: without_batch_norm(SpatialAttention),
        lambda: without_batch_norm(CBAM),
        lambda: ConcurrentSqueezeExcite(3),
    ],
    ids=["rsan", "rsan with CBAM", "scSE"],
)
def test_gradients_of_each_sample_in_our_networks(make):
    opacus = pytest.importorskip("opacus")
    torch.manual_seed(0)
    net, x = make(), image()
    private = opacus.GradSampleModule(copy.deepcopy(net), loss_reduction="sum")
    private(x).square().sum().backward()
    for at, sample in enumerate(x):
        net.zero_grad()
        net(sample[None]).square().sum().backward()
        expected = {name: p.grad for name, p in net.named_parameters()}
        found = {name: p.grad_sample[at] for name, p in private._module.named_parameters()}
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_opacus_replaces_batch_norm_and_keeps_the_layers():
    validators = pytest.importorskip("opacus.validators")
    net, x = insert_after(resnet(), nn.BatchNorm2d, cbam).train(), image()
    assert len(validators.ModuleValidator.validate(net)) == 10
    fixed = validators.ModuleValidator.fix(net)
    assert validators.ModuleValidator.validate(fixed) == []
    assert isinstance(fixed.layer1[0].bn1.host, nn.GroupNorm)
    assert listed(fixed) == listed(net)
    assert len(listed(fixed)) == 10
    expected = validators.ModuleValidator.fix(written_in(net))
    assert torch.equal(fixed.eval()(x), expected.eval()(x))
    assert_felt(fixed, x)


# torchao.


def test_quantisation_of_weights_by_torchao():
    quantization = pytest.importorskip("torchao.quantization")
    x = image()
    net = insert_after(resnet(), "fc", lambda m: nn.Linear(5, 5))
    insert_after(net, "layer1.0.conv1", squeeze_excite, inplace=True)
    full, written, names = net(x), written_in(net), listed(net)
    config = quantization.Int8WeightOnlyConfig()
    quantization.quantize_(net, config)
    quantization.quantize_(written, config)
    assert type(net.fc.host.weight) is type(written.fc[0].weight) is not nn.Parameter
    assert type(net.fc.inserted_after[0].weight) is type(written.fc[0].weight)
    assert torch.equal(net(x), written(x))
    torch.testing.assert_close(net(x), full, rtol=0, atol=0.02 * full.abs().max().item())
    assert listed(net) == names == ["SqueezeExcite after layer1.0.conv1", "Linear after fc"]
    assert_felt(net, x)


def test_a_filter_of_torchao_picks_a_host():
    quantization = pytest.importorskip("torchao.quantization")
    net, x = insert_after(resnet(), "fc", lambda m: nn.Linear(5, 5)), image()
    layer, plain = copy.deepcopy(net.fc.inserted_after[0]), undo(net)
    config = quantization.Int8WeightOnlyConfig()
    quantization.quantize_(net, config, lambda module, name: name == "fc.host")
    quantization.quantize_(plain, config)
    assert type(net.fc.host.weight) is type(plain.fc.weight) is not nn.Parameter
    assert type(net.fc.inserted_after[0].weight) is nn.Parameter
    assert torch.equal(net(x), layer(plain(x)))
    assert listed(net) == ["Linear after fc"]
    assert_felt(net, x)


# lightning.


@pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
)
def test_lightning_trains_the_layers_at_synchronised_batch_norm(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    layer_sync = pytest.importorskip("lightning.pytorch.plugins.layer_sync")
    net = insert_after(resnet(), nn.BatchNorm2d, cbam)
    names, old = listed(net), copy.deepcopy(net.state_dict())
    kinds = []

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            kinds.append(type(self.net.layer1[0].bn1.host))
            return self.net(batch).square().sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    # What Trainer does for sync_batchnorm=True, on several GPUs only.
    task = layer_sync.TorchSyncBatchNorm().apply(Task().train())
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        sync_batchnorm=True,
        max_steps=2,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, torch.utils.data.DataLoader(list(image()), batch_size=2))
    assert kinds == [nn.SyncBatchNorm] * 2
    assert listed(task.net) == names
    assert len(names) == 10
    new = task.net.state_dict()
    keys = [key for change in changes(task.net) for key in change.keys]
    assert len(keys) == 30
    assert not any(torch.equal(new[key], old[key]) for key in keys)
    assert_felt(task.net.eval(), image())


@pytest.mark.parametrize("back", [False, True])
def test_lightning_converts_batch_norm_in_its_place(back):
    layer_sync = pytest.importorskip("lightning.pytorch.plugins.layer_sync")
    net, x = insert_after(resnet(), nn.BatchNorm2d, cbam), image()
    expected, names = net(x), listed(net)
    synchronised = layer_sync.TorchSyncBatchNorm().apply(net)
    assert isinstance(synchronised.layer1[0].bn1.host, nn.SyncBatchNorm)
    if back:
        synchronised = layer_sync.TorchSyncBatchNorm().revert(synchronised).eval()
        assert not any(isinstance(m, nn.SyncBatchNorm) for m in synchronised.modules())
    torch.testing.assert_close(synchronised(x), expected)
    assert listed(synchronised) == names
    assert_felt(synchronised, x)


# torchinfo, thop, ptflops.


def test_torchinfo_counts_each_parameter_once():
    torchinfo = pytest.importorskip("torchinfo")
    net = insert_after(resnet(), nn.Conv2d, cbam)
    insert_after(net, nn.BatchNorm2d, lambda m: DropBlock2d(), inplace=True)
    summary = torchinfo.summary(net, input_size=(2, 3, 16, 16), verbose=0, depth=9)
    assert summary.total_params == sum(p.numel() for p in net.parameters())
    assert summary.total_params > sum(p.numel() for p in undo(net).parameters())
    kinds = [row.class_name for row in summary.summary_list]
    assert kinds.count("CBAM") == kinds.count("DropBlock2d") == 10
    written = torchinfo.summary(written_in(net), input_size=(2, 3, 16, 16), verbose=0, depth=9)
    assert summary.total_mult_adds == written.total_mult_adds
    assert len(changes(net)) == 20


def by_thop(model):
    thop = pytest.importorskip("thop")
    return thop.profile(model, inputs=(image(),), verbose=False)


def by_ptflops(backend):
    def count(model):
        ptflops = pytest.importorskip("ptflops")
        return ptflops.get_model_complexity_info(
            model, (3, 16, 16), as_strings=False, print_per_layer_stat=False, backend=backend
        )

    return count


@pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("count", "batch"),
    [(by_thop, 2), (by_ptflops("pytorch"), 1), (by_ptflops("aten"), 1)],
    ids=["thop", "ptflops of modules", "ptflops of operators"],
)
def test_multiply_adds_are_those_of_the_layer_written_in(count, batch):
    net = insert_after(resnet(), "layer1.0.conv1", lambda m: nn.Conv2d(8, 8, 3, 1, 1, bias=False))
    found, parameters = count(copy.deepcopy(net))
    without, fewer = count(undo(net))
    assert (found, parameters) == count(written_in(net))
    assert found - without == batch * 8 * 8 * 9 * 16 * 16
    assert parameters - fewer == 8 * 8 * 9
    assert listed(net) == ["Conv2d after layer1.0.conv1"]


# torch-pruning.


def half_as_wide(model, head="fc"):
    """The network with half of its channels, for which a map of positions is not divided.

    torch-pruning halves no channels that are multiplied by the output of a convolution to one.
    """
    pruning = pytest.importorskip("torch_pruning")

    class Whole(pruning.pruner.BasePruningFunc):
        def prune_out_channels(self, layer, idxs):
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer):
            return None

        get_in_channels = get_out_channels

    pruning.pruner.MagnitudePruner(
        model,
        image(),
        importance=pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[getattr(model, head)],
        customized_pruners={SpatialAttention: Whole()},
    ).step()
    return model


@pytest.mark.parametrize(
    ("where", "factory"),
    [
        ("layer?.*.conv1", lambda m: nn.Conv2d(out_channels(m), out_channels(m), 3, 1, 1)),
        ("layer?.*.conv1", squeeze_excite),
        ("layer?.*.conv1", lambda m: ChannelAttention(out_channels(m), hidden_channels=4)),
        ("layer?.*.conv1", lambda m: SpatialAttention()),
        ("layer?.*.conv1", cbam),
        ("layer?.*.bn1", lambda m: DropBlock2d(0.5, 5)),
    ],
    ids=["Conv2d", "SqueezeExcite", "ChannelAttention", "SpatialAttention", "CBAM", "DropBlock2d"],
)
def test_a_network_pruned_by_torch_pruning_runs_with_the_layers(where, factory):
    net, x = insert_after(resnet(), where, factory), image()
    names = listed(net)
    pruned, expected = half_as_wide(copy.deepcopy(net)), half_as_wide(written_in(net))
    assert [m.out_channels for m in undo(pruned).modules() if isinstance(m, nn.Conv2d)] == [
        m.out_channels // 2 for m in undo(net).modules() if isinstance(m, nn.Conv2d)
    ]
    assert listed(pruned) == names
    assert len(names) == 4
    for one in (pruned, expected):
        for module in one.modules():
            module.training = isinstance(module, DropBlock2d)
    outputs = []
    for one in (pruned, expected):
        torch.manual_seed(0)
        outputs.append(one(x))
    torch.testing.assert_close(*outputs)
    assert_felt(pruned, x)


@pytest.mark.parametrize(
    "attention",
    [SpatialAttention, CBAM, SqueezeExcite, ChannelAttention],
    ids=["SpatialAttention", "CBAM", "SqueezeExcite", "ChannelAttention"],
)
def test_rsan_pruned_by_half_runs_and_halves(attention):
    torch.manual_seed(0)
    net = rsan(attention=attention, widths=(8, 16, 32)).eval()
    pruned = half_as_wide(copy.deepcopy(net), "head")
    widths = [
        [m.out_channels for m in one.modules() if isinstance(m, nn.Conv2d) and m.out_channels > 1]
        for one in (net, pruned)
    ]
    assert widths[1] == [width // 2 for width in widths[0]]
    assert pruned(image()).shape == (2, 1, 16, 16)
    block = pruned.bottleneck[1]
    assert block.in_channels == 16
    with pytest.raises(ValueError, match="RSAB: x must have 16 channels"):
        block(torch.ones(1, 32, 4, 4))


def test_without_help_torch_pruning_leaves_what_a_map_of_positions_multiplies():
    pruning = pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    net = rsan().eval()
    pruning.pruner.MagnitudePruner(
        net,
        image(),
        importance=pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[net.head],
    ).step()
    assert sum(p.numel() for p in net.parameters()) == 496_437  # of 997,269
    assert net(image()).shape == (2, 1, 16, 16)


# captum.


def test_captum_sees_the_output_of_the_layer_at_the_host():
    captum = pytest.importorskip("captum.attr")
    net, x = insert_after(resnet(), "layer1.0.conv1", cbam), image()
    place = net.layer1[0].conv1
    kept = []
    handle = place.inserted_after[0].register_forward_hook(lambda m, args, y: kept.append(y))
    logits = net(x)
    handle.remove()
    (output,) = kept
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), output)
    expected = (gradient.mean((2, 3), keepdim=True) * output).sum(1, keepdim=True)
    cam = captum.LayerGradCam(net, place).attribute(x, target=1)
    torch.testing.assert_close(cam, expected)
    assert not torch.allclose(captum.LayerGradCam(net, place.host).attribute(x, target=1), cam)
    assert torch.equal(captum.LayerActivation(net, place).attribute(x), output)
    assert listed(net) == ["CBAM after layer1.0.conv1"]
    assert_felt(net, x)


def test_integrated_gradients_of_captum_are_complete():
    captum = pytest.importorskip("captum.attr")
    net, x = insert_after(resnet(), "layer1.0.conv1", cbam), image()
    parts = captum.IntegratedGradients(net).attribute(x, target=1, n_steps=100)
    expected = (net(x) - net(torch.zeros_like(x)))[:, 1]
    assert (parts.sum((1, 2, 3)) - expected).abs().max() < 1e-3 * expected.abs().min()
    other = captum.IntegratedGradients(undo(net)).attribute(x, target=1, n_steps=100)
    assert (parts - other).norm() > 0.01 * other.norm()
    assert listed(net) == ["CBAM after layer1.0.conv1"]


of_deep_lift = pytest.mark.filterwarnings(
    r"ignore:\s*Setting forward, backward hooks and attributes on non-linear:UserWarning",
    "ignore:Input Tensor 0 did not already require gradients:UserWarning",
)


def by_deep_lift(model):
    """The parts of the output, and what they miss of its sum."""
    captum = pytest.importorskip("captum.attr")
    return captum.DeepLift(model).attribute(
        image(), torch.zeros_like(image()), target=1, return_convergence_delta=True
    )


def chain_without_norm():
    """DeepLift has no rule for a norm, nor for products, as in attention."""
    chain = plain_chain()
    chain[1] = nn.Identity()
    return chain


def two_convolutions(module):
    return nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))


@of_deep_lift
@pytest.mark.parametrize("factory", [two_convolutions, squeeze_excite, cbam])
def test_deep_lift_of_captum_goes_through_the_layers(factory):
    net = insert_after(chain_without_norm(), "3", factory)
    parts, missed = by_deep_lift(net)
    expected_parts, expected_missed = by_deep_lift(written_in(net))
    assert torch.equal(parts, expected_parts)
    assert torch.equal(missed, expected_missed)
    without, _ = by_deep_lift(undo(net))
    assert (parts - without).norm() > 0.01 * without.norm()
    assert len(changes(net)) == 1
    assert_felt(net, image())


@of_deep_lift
def test_deep_lift_of_captum_is_complete_with_the_layers():
    net, x = insert_after(chain_without_norm(), "3", two_convolutions), image()
    parts, missed = by_deep_lift(net)
    expected = (net(x) - net(torch.zeros_like(x)))[:, 1]
    torch.testing.assert_close(parts.sum((1, 2, 3)), expected, rtol=1e-3, atol=0)
    assert (missed.abs() < 1e-3 * expected.abs()).all()
    assert listed(net) == ["Sequential after 3"]
    assert_felt(net, x)


# accelerate and torch.


def test_accelerate_offloads_hosts_and_layers():
    accelerate = pytest.importorskip("accelerate")
    net, x = insert_after(resnet(), nn.Conv2d, cbam), image()
    insert_before(net, "fc", lambda m: nn.Linear(16, 16), inplace=True)
    assert_felt(net, x)
    expected, names = net(x), listed(net)
    accelerate.cpu_offload(net, execution_device=torch.device("cpu"))
    for _ in range(2):
        assert {p.device.type for p in net.parameters()} == {"meta"}
        assert torch.equal(net(x), expected)
    assert listed(net) == names
    assert len(names) == 11


def test_weight_norm_of_a_linear_host():
    net, x = insert_after(resnet(), "fc", lambda m: nn.Linear(5, 5)), image()
    expected, plain = net(x), undo(net)
    parametrizations.weight_norm(net.fc.host)
    torch.testing.assert_close(net(x), expected)
    with torch.no_grad():
        net.fc.host.parametrizations.weight.original0.mul_(3)
        plain.fc.weight.mul_(3)
    torch.testing.assert_close(net(x), net.fc.inserted_after[0](plain(x)))
    assert listed(net) == ["Linear after fc"]
    assert_felt(net, x)
