"""The U and the presets: sizes, counts, and RSAN against the network written out plainly."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from torchattn_blocks import (
    DropBlock2d,
    UNet,
    attention_unet,
    backbone,
    backbone_dropblock,
    plain_stage,
    residual_stage,
    rsan,
    rsan_stage,
    sa_unet,
    sd_unet,
    unet,
)
from torchattn_blocks.functional import drop_block2d
from torchattn_blocks.models import transposed

PRESETS = [unet, backbone, backbone_dropblock, rsan, sd_unet, sa_unet, attention_unet]
every_preset = pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.__name__)
TINY = {"widths": (2, 3, 4)}


def count(model):
    return sum(w.numel() for w in model.parameters())


def plain_block(in_channels, out_channels):
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def test_parameter_counts():
    assert count(rsan()) == 997_269
    assert count(rsan(up_kernel_size=3)) == 1_051_029
    assert count(backbone()) == count(backbone_dropblock()) == 996_583
    assert count(rsan()) - count(backbone()) == 7 * 98
    for preset in (unet, backbone, backbone_dropblock):
        assert count(preset(up_kernel_size=3)) - count(preset()) == 1_051_029 - 997_269
    assert count(sd_unet()) == 535_793
    assert count(sa_unet()) == 537_299
    assert count(sa_unet()) - count(sa_unet(attention=None)) == 98
    # AttU_Net of most copies, without the normalisation and the second bias of its gates.
    assert count(attention_unet()) == 34_878_573 - 4 * 2 - 5 * (256 + 128 + 64 + 32)


@every_preset
def test_state_dict_keys_and_shapes_are_the_recorded_ones(preset):
    """Public: trained weights depend on them."""
    recorded = json.loads(Path(__file__).with_name("state_dict_keys.json").read_text())
    found = {key: list(value.shape) for key, value in preset().state_dict().items()}
    assert found == recorded[preset.__name__]


@every_preset
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    depth=st.integers(2, 4),
    up_kernel_size=st.integers(2, 5),
)
@settings(max_examples=15)
def test_any_size_in_the_same_size_out(preset, size, channels, depth, up_kernel_size):
    options = {} if preset is attention_unet else {"up_kernel_size": up_kernel_size}
    model = preset(*channels, widths=(2, 3, 4, 5)[:depth], **options).eval()
    x = torch.randn(2, channels[0], *size)
    with torch.no_grad():
        assert model(x).shape == (2, channels[1], *size)


def restated_rsan(state, x, *, training, p=0.15):
    """RSAN as the paper draws it, from the state dict and torch's functions alone."""

    def norm(key, x):
        mean, var = (
            (None, None)
            if training
            else (state[f"{key}.running_mean"], state[f"{key}.running_var"])
        )
        return F.batch_norm(
            x, mean, var, state[f"{key}.weight"], state[f"{key}.bias"], training=training, eps=2e-5
        )

    def conv(key, x, padding=0):
        return F.conv2d(x, state[f"{key}.weight"], state.get(f"{key}.bias"), padding=padding)

    def branch(key, x):
        for i in (1, 2):
            x = conv(f"{key}.conv{i}", F.relu(norm(f"{key}.norm{i}", x)), padding=1)
            x = drop_block2d(x, p, 7, training, gamma="paper", scale="batch")
        return x

    def stage(key, x):
        shortcut = conv(f"{key}.0.shortcut", x) if f"{key}.0.shortcut.weight" in state else x
        x = branch(f"{key}.0", x) + shortcut
        h = branch(f"{key}.1", x)
        summary = torch.stack([h.max(1).values, h.mean(1)], 1)
        x = h * torch.sigmoid(conv(f"{key}.1.attention.conv", summary, padding=3)) + x
        return F.relu(norm(f"{key}.2", x))

    skips = []
    for i in range(3):
        skips.append(stage(f"encoders.{i}", x))
        x = F.max_pool2d(skips[-1], 2)
    x = stage("bottleneck", x)
    for i in range(3):
        weight, bias = state[f"ups.{i}.weight"], state[f"ups.{i}.bias"]
        x = F.conv_transpose2d(x, weight, bias, stride=2)
        x = stage(f"decoders.{i}", torch.cat([x, skips.pop()], 1))
    return conv("head", x)


@pytest.mark.parametrize("training", [True, False])
def test_rsan_equals_the_network_written_out(training):
    torch.manual_seed(0)
    model = rsan().double().train(training)
    for name, values in model.state_dict().items():
        if values.dim() == 1 and "num_batches" not in name:
            nn.init.uniform_(values, 0.5, 1.5)
    x = torch.rand(2, 3, 48, 40, dtype=torch.float64)
    torch.manual_seed(1)
    expected = restated_rsan(model.state_dict(), x, training=training)
    torch.manual_seed(1)
    torch.testing.assert_close(model(x), expected)


def test_padding_is_zeros_at_the_bottom_and_right():
    model = rsan(**TINY).eval()
    x = torch.rand(1, 3, 13, 10)
    padded = torch.zeros(1, 3, 16, 12)
    padded[..., :13, :10] = x
    assert torch.equal(model(x), model(padded)[..., :13, :10])
    small = torch.zeros(1, 3, 8, 8)  # two positions at the bottleneck
    small[..., :2, :5] = x[..., :2, :5]
    assert torch.equal(model(x[..., :2, :5]), model(small)[..., :2, :5])


@every_preset
def test_starts_like_keras(preset):
    torch.manual_seed(0)
    model = preset()
    *_, conv = (m for m in model.bottleneck.modules() if getattr(m, "out_channels", 1) > 1)
    weight, channels = conv.weight, conv.out_channels
    assert weight.shape == (channels, channels, 3, 3)
    limit = (6 / (channels * 9 + channels * 9)) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.01)
    assert all(
        not m.bias.any()
        for part in (*model.encoders, model.bottleneck, *model.ups, *model.decoders, model.head)
        for m in part.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and m.bias is not None
    )
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    expected = {sd_unet: set(), sa_unet: {(1e-3, 0.01)}, attention_unet: {(1e-5, 0.1)}}
    assert {(m.eps, m.momentum) for m in norms} == expected.get(preset, {(2e-5, 0.1)})
    if preset is not attention_unet:
        ups = model.ups[0].weight  # 128 to 64 channels, 2 x 2 or 3 x 3
        fans = ups[0, 0].numel() * (128 + 64)
        assert ups.abs().max() <= (6 / fans) ** 0.5
        assert ups.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.02)


def test_attention_starts_from_its_own_rule():
    torch.manual_seed(0)
    weights = torch.cat([v.flatten() for k, v in rsan().state_dict().items() if "attention" in k])
    assert weights.std().item() == pytest.approx((2 / 98) ** 0.5, rel=0.1)  # Glorot's: .116


@every_preset
def test_gradients_reach_every_parameter(preset):
    torch.manual_seed(0)
    model = preset(widths=(4, 8))
    model(torch.randn(2, 3, 18, 15)).square().sum().backward()
    assert [n for n, w in model.named_parameters() if w.grad is None] == []


def test_predict_proba():
    x = torch.randn(2, 3, 9, 9)
    one, three = rsan(3, 1, **TINY).eval(), rsan(3, 3, **TINY).eval()
    assert torch.equal(one.predict_proba(x), one(x).sigmoid())
    torch.testing.assert_close(three.predict_proba(x).sum(1), torch.ones(2, 9, 9))


def test_predict_proba_of_classes_that_may_overlap():
    x = torch.randn(2, 3, 9, 9)
    one, three = rsan(3, 1, **TINY).eval(), rsan(3, 3, **TINY).eval()
    assert torch.equal(three.predict_proba(x, multi_label=True), three(x).sigmoid())
    assert torch.equal(one.predict_proba(x, multi_label=True), one.predict_proba(x))


@every_preset
@pytest.mark.parametrize("dims", [1, 3])
def test_presets_in_one_and_three_dimensions(preset, dims):
    torch.manual_seed(0)
    model = preset(spatial_dims=dims, **TINY)
    kinds = {type(m).__name__ for m in model.modules()}
    assert f"Conv{dims}d" in kinds
    assert not {kind for kind in kinds if kind.endswith("d") and kind[-2] in "123"} - {
        kind for kind in kinds if kind.endswith(f"{dims}d")
    }
    x = torch.randn(2, 3, *(9, 7, 5)[:dims], requires_grad=True)
    model(x).square().sum().backward()
    assert [n for n, w in model.named_parameters() if w.grad is None] == []
    assert model.eval()(x).shape == (2, 1, *x.shape[2:])


def test_three_dimensions_are_two_where_nothing_changes_along_the_first():
    torch.manual_seed(0)
    flat, solid = backbone(widths=(4, 6)).eval(), backbone(widths=(4, 6), spatial_dims=3).eval()
    for two, three in zip(flat.parameters(), solid.parameters(), strict=True):
        nn.init.uniform_(two, -0.5, 0.5)
        with torch.no_grad():
            if three.dim() == two.dim():
                three.copy_(two)
            else:  # the same kernel at each tap along the new axis, or a third of it
                three.copy_(two[:, :, None].expand_as(three) / (3 if three.shape[2] == 3 else 1))
    x = torch.rand(1, 3, 10, 8)
    expected = flat(x)
    deep = solid(x[:, :, None].expand(-1, -1, 12, -1, -1))
    torch.testing.assert_close(deep[:, :, 5], expected, rtol=1e-4, atol=1e-4)  # far from the ends


def test_weights_of_other_dimensions_are_refused():
    flat, solid = rsan(**TINY), rsan(spatial_dims=3, **TINY)
    message = (
        r"UNet: the weights must be of a network with spatial_dims=3, got 2: "
        r"head.weight has shape \(1, 2, 1, 1\)"
    )
    with pytest.raises(ValueError, match=message):
        solid.load_state_dict(flat.state_dict())
    within = nn.Sequential(nn.Identity(), rsan(spatial_dims=3, **TINY))
    with pytest.raises(ValueError, match=message):
        within.load_state_dict(nn.Sequential(nn.Identity(), flat).state_dict())
    with pytest.raises(ValueError, match=r"spatial_dims=2, got 3: head.weight has shape"):
        flat.load_state_dict(solid.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):  # torch's own word on other widths
        flat.load_state_dict(rsan(widths=(2, 3, 5)).state_dict())


def test_evaluation_is_deterministic_and_training_is_not():
    model, x = rsan(**TINY), torch.randn(2, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_rates_reach_the_layers():
    model = backbone_dropblock(p=0.22, block_size=5, **TINY)
    drops = {repr(m) for m in model.modules() if type(m).__name__ == "DropBlock2d"}
    assert len(drops) == 1
    assert (
        "p=0.22, block_size=(5, 5), gamma='paper', scale='batch', channelwise=True, inplace=False"
        in drops.pop()
    )
    assert "DropBlock2d" not in repr(backbone(**TINY)) + repr(unet(**TINY))


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError, {"in_channels": 0}, "UNet: in_channels must be at least 1, got 0"),
        (TypeError, {"out_channels": 1.0}, "UNet: out_channels must be an int, got 1.0"),
        (ValueError, {"widths": (16,)}, r"UNet: widths must name two stages or more, got \(16,\)"),
        (ValueError, {"widths": (16, -1)}, "UNet: widths must be at least 1, got -1"),
        (ValueError, {"up_kernel_size": 1}, "transposed: kernel_size must be at least 2, got 1"),
    ],
)
def test_bad_arguments(error, arguments, message):
    with pytest.raises(error, match=message):
        rsan(**arguments)


def test_a_network_from_a_stage_and_an_upsampling_of_the_callers():
    def up(in_channels, out_channels):
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(in_channels, out_channels, 1))

    model = UNet(1, 2, widths=(4, 8), stage=rsan_stage(p=0.3, attention=nn.BatchNorm2d), up=up)
    assert model(torch.randn(2, 1, 9, 12)).shape == (2, 2, 9, 12)
    assert isinstance(model.bottleneck[1].attention, nn.BatchNorm2d)
    assert {m.p for m in model.modules() if isinstance(m, DropBlock2d)} == {0.3}


@pytest.mark.parametrize(
    ("preset", "stage"),
    [
        (unet, plain_stage()),
        (backbone, residual_stage()),
        (backbone_dropblock, residual_stage(drop=lambda: DropBlock2d(0.15))),
        (rsan, rsan_stage()),
    ],
)
def test_presets_are_what_their_stages_make(preset, stage):
    written_out = UNet(3, 1, widths=(16, 32, 64, 128), stage=stage, up=transposed(2))
    preset().load_state_dict(written_out.state_dict())


def test_bad_rates():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\], got 2"):
        rsan(p=2)
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        backbone_dropblock(block_size=0)


def test_bad_inputs():
    model = UNet(3, 1, stage=plain_block)
    with pytest.raises(ValueError, match=r"UNet: x must have 3 channels, got shape \(1, 1, 8, 8\)"):
        model(torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match="UNet: x must have 4 dimensions"):
        model(torch.ones(3, 8, 8))
    with pytest.raises(TypeError, match=r"floating-point tensor, got torch\.uint8"):
        model(torch.ones(1, 3, 8, 8, dtype=torch.uint8))


def test_a_stage_of_the_callers_keeps_its_initial_weights():
    def stage(in_channels, out_channels):
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        nn.init.constant_(conv.weight, 0.5)
        nn.init.constant_(conv.bias, 0.25)
        return conv

    model = UNet(3, 1, widths=(4, 8), stage=stage)
    for conv in (*model.encoders, model.bottleneck, *model.decoders):
        assert (conv.weight == 0.5).all()
        assert (conv.bias == 0.25).all()
