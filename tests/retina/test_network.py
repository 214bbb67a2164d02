"""Networks by name."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from torchattn_blocks import (
    BAM,
    CBAM,
    RSAB,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    DropBlock2d,
    EfficientChannelAttention,
    GlobalContext,
    PreActResidual,
    SimAM,
    SpatialAttention,
    SqueezeExcite,
    TripletAttention,
    backbone,
    backbone_dropblock,
    rsan,
    unet,
)
from torchattn_blocks.retina import Network

PRESETS = {
    "rsan": rsan,
    "backbone_dropblock": backbone_dropblock,
    "backbone": backbone,
    "unet": unet,
}


@pytest.mark.parametrize("up_kernel_size", [2, 3])
@pytest.mark.parametrize("model", PRESETS)
def test_a_name_is_its_preset(model, up_kernel_size):
    options = {"widths": (4, 8), "up_kernel_size": up_kernel_size}
    networks = []
    for make in (Network(model, **options).build, lambda: PRESETS[model](**options)):
        torch.manual_seed(0)
        networks.append(make())
    ours, preset = networks
    assert repr(ours) == repr(preset)
    assert ours.state_dict().keys() == preset.state_dict().keys()
    assert all(torch.equal(v, preset.state_dict()[k]) for k, v in ours.state_dict().items())


@pytest.mark.parametrize("model", ["rsan", "backbone_dropblock"])
def test_drop_block_has_the_options(model):
    network = Network(model, (4, 8), p=0.3, block_size=5, gamma="exact", scale="position")
    blocks = [m for m in network.build().modules() if isinstance(m, DropBlock2d)]
    assert len(blocks) == 12
    for block in blocks:
        assert (block.p, block.block_size, block.gamma, block.scale) == (
            0.3,
            (5, 5),
            "exact",
            "position",
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spatial", SpatialAttention),
        ("channel", ChannelAttention),
        ("cbam", CBAM),
        ("se", SqueezeExcite),
        ("eca", EfficientChannelAttention),
        ("scse", ConcurrentSqueezeExcite),
        ("gc", GlobalContext),
        ("coord", CoordinateAttention),
        ("triplet", TripletAttention),
        ("bam", BAM),
        ("simam", SimAM),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_attention_by_name(name, kind, after):
    model = Network(widths=(4, 8), attention=name, attention_after=after).build()
    stages = (*model.encoders, model.bottleneck, *model.decoders)
    assert {type(stage[2] if after else stage[1].attention) for stage in stages} == {kind}
    assert model(torch.rand(1, 3, 12, 12)).shape == (1, 1, 12, 12)  # as for CHASE_DB1
    if not after:
        torch.manual_seed(0)
        options = {"channel_norm": None} if kind is BAM else {}
        takes = kind not in (SpatialAttention, TripletAttention, SimAM)
        preset = rsan(widths=(4, 8), attention=lambda c: kind(*([c] if takes else []), **options))
        assert repr(preset) == repr(model)


@pytest.mark.parametrize("model", ["unet", "backbone", "backbone_dropblock"])
def test_options_of_rsan_alone_are_ignored_elsewhere(model):
    other = Network(model, widths=(4, 8), attention="se", attention_after=True)
    assert repr(other.build()) == repr(Network(model, widths=(4, 8)).build())


def test_an_unknown_attention_is_refused():
    with pytest.raises(ValueError, match=r"attention must be one of \('spatial', .*, got 'none'"):
        Network(attention="none").build()


def test_attention_after_acts_on_the_sum():
    network = Network(widths=(4, 8), attention_after=True)
    torch.manual_seed(0)
    model = network.build().eval()
    assert not any(isinstance(m, RSAB) for m in model.modules())
    stage = model.encoders[0]
    assert [type(m) for m in stage] == [
        PreActResidual,
        PreActResidual,
        SpatialAttention,
        nn.BatchNorm2d,
        nn.ReLU,
    ]
    x = torch.rand(1, 3, 20, 20)
    total = stage[1](stage[0](x))
    expected = stage[4](stage[3](total * stage[2].attention_map(total)))
    torch.testing.assert_close(stage(x), expected)
    weights = sum(w.numel() for w in Network(attention_after=True).build().parameters())
    assert weights == 997_269


def test_what_a_description_describes():
    network = Network(widths=(4, 8))
    network.check_describes("train", network.build())
    for other in (replace(network, widths=(4, 9)), replace(network, model="unet")):
        with pytest.raises(ValueError, match="network must describe model"):
            other.check_describes("train", network.build())
