"""What fills the slots of a `UNet`: every combination runs, or is refused by the slot's name."""

import inspect
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._dynamo.testing import CompileCounter

from torchattn_blocks import (
    BAM,
    CBAM,
    AttentionGate,
    DropBlock1d,
    DropBlock2d,
    DropBlock3d,
    EfficientChannelAttention,
    GlobalContext,
    PreActResidual,
    SimAM,
    SpatialAttention,
    SqueezeExcite,
    UNet,
    plain_stage,
    replace,
    residual_stage,
    rsan,
    rsan_stage,
)
from torchattn_blocks.models import (
    add,
    avg_pool,
    concatenate,
    max_pool,
    pixel_shuffle,
    strided_conv,
    transposed,
    upsample,
)

SIZE = (7, 9, 6)  # sides that are no multiples of the strides


def normalisation(kind, dims):
    return {
        "batch": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1],
        "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1],
        "group": lambda channels: nn.GroupNorm(2, channels),
        None: None,
    }[kind]


def dropout(kind, dims):
    return {
        "block": partial((DropBlock1d, DropBlock2d, DropBlock3d)[dims - 1], 0.2, 2),
        "channels": (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)[dims - 1],
        "values": nn.Dropout,
        None: None,
    }[kind]


@st.composite
def stages(draw, dims):
    options = {
        "norm": normalisation(draw(st.sampled_from(["batch", "instance", "group", None])), dims),
        "activation": draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.PReLU, nn.LeakyReLU])),
        "inplace": draw(st.booleans()),
    }
    attention = st.sampled_from(
        [
            CBAM,
            SpatialAttention,
            SqueezeExcite,
            EfficientChannelAttention,
            GlobalContext,
            partial(BAM, channel_norm=None),
            SimAM,
            None,
        ]
    )
    chosen = draw(attention)
    drop = dropout(draw(st.sampled_from(["block", "channels", "values", None])), dims)
    kind = draw(st.sampled_from(["plain", "residual", "rsan"]))
    if kind == "rsan":
        return rsan_stage(block_size=2, **options)
    if kind == "residual":
        return residual_stage(drop=drop, attention=chosen, **options)
    return plain_stage(
        drop=drop,
        attention=chosen,
        convolutions=draw(st.integers(1, 3)),
        kernel_size=draw(st.sampled_from([1, 3, (5, 3, 1)[:dims]])),
        dilation=draw(st.sampled_from([1, 2, (2, 1, 3)[:dims]])),
        bias=draw(st.booleans()),
        **options,
    )


@st.composite
def networks(draw):
    dims = draw(st.integers(1, 3))
    by_axis = st.tuples(*[st.integers(1, 3)] * dims)
    pairs = st.lists(st.one_of(st.integers(1, 3), by_axis), min_size=2, max_size=2)
    optional = st.one_of(st.none(), stages(dims))
    arguments = {
        "in_channels": draw(st.sampled_from([2, 4])),  # what group normalisation takes
        "out_channels": draw(st.integers(1, 3)),
        "widths": (4, 6, 4),
        "spatial_dims": dims,
        "strides": draw(st.one_of(st.integers(1, 3), pairs)),
        "stage": draw(stages(dims)),
        "bottleneck": draw(optional),
        "decoder_stage": draw(optional),
        "down": draw(st.sampled_from([None, max_pool(), avg_pool(), strided_conv()])),
        "up": draw(
            st.sampled_from(
                [
                    None,
                    transposed(3),
                    transposed((4, 3, 5)[:dims]),
                    upsample(),
                    upsample("nearest", kernel_size=None),
                    pixel_shuffle(),
                ]
            )
        ),
        "skip": draw(
            st.sampled_from(
                [
                    None,
                    concatenate(),
                    add(),
                    AttentionGate,
                    concatenate(AttentionGate),
                    add(AttentionGate),
                ]
            )
        ),
    }
    return arguments, SIZE[:dims]


@given(network=networks(), training=st.booleans())
@settings(max_examples=100)
def test_every_combination_runs_or_is_refused_by_name(network, training):
    arguments, size = network
    torch.manual_seed(0)
    try:
        model = UNet(**arguments)
    except ValueError as error:  # what cannot be: sums of unequal channels
        assert re.match("UNet: skip at level [01] must run on", str(error))  # noqa: PT017
        assert arguments["skip"] is not None
        return
    model.train(training)
    x = torch.randn(2, arguments["in_channels"], *size, requires_grad=True)
    y = model(x)
    assert y.shape == (2, arguments["out_channels"], *size)
    y.square().sum().backward()
    assert [n for n, w in model.named_parameters() if w.grad is None] == []
    assert x.grad.isfinite().all()


@given(dims=st.integers(1, 3), data=st.data())
@settings(max_examples=40)
def test_writing_in_place_changes_nothing(dims, data):
    options = {
        "norm": normalisation(data.draw(st.sampled_from(["batch", "group", None])), dims),
        "drop": dropout(data.draw(st.sampled_from(["block", "values", None])), dims),
    }
    make = data.draw(st.sampled_from([plain_stage, residual_stage]))
    outputs = []
    for inplace in (False, True):
        torch.manual_seed(0)
        stage = make(inplace=inplace, **options)(4, 4, spatial_dims=dims)
        written = [m.inplace for m in stage.modules() if hasattr(m, "inplace")]
        # The first activation of a block without normalisation would write into the shortcut.
        kept = 2 if inplace and options["norm"] is None and make is residual_stage else 0
        assert written.count(inplace) == len(written) - kept
        assert len(written) > 1
        x = torch.randn(2, 4, *SIZE[:dims], requires_grad=True)
        before = x.detach().clone()
        y = stage(x)
        y.square().sum().backward()
        assert torch.equal(x, before)
        outputs.append((y, x.grad))
    torch.testing.assert_close(*outputs)


def refused(error, message, **slots):
    return pytest.param(error, slots, message, id=message[:60])


STAGE = plain_stage()
TWO = "must be a function that takes two numbers of channels and returns a module"


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(2, 3)


class DropsChannels(nn.Dropout1d):
    """A user's own, for sequences."""


class Affine3d(nn.Module):
    """A user's own, whose name alone is for volumes."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * self.scale[:, None, None]


def test_names_of_users_modules_say_nothing_of_dimensions():
    UNet(widths=(2, 3), stage=plain_stage(norm=Affine3d))(torch.rand(1, 3, 9, 9))


def test_an_upsampling_that_is_wrong_at_other_sizes_is_refused_when_it_runs():
    fits = UNet(widths=(4, 6), stage=STAGE, up=lambda i, o: FitsTheTrial())
    fits(torch.rand(1, 3, 14, 20))
    with pytest.raises(ValueError, match=r"UNet: up must multiply .* got \(14, 20\) for \(6, 8\)"):
        fits(torch.rand(1, 3, 6, 8))


class FitsTheTrial(nn.Module):
    def forward(self, x):
        return nn.functional.interpolate(x, (14, 20))


@pytest.mark.parametrize(
    ("error", "slots", "message"),
    [
        refused(
            TypeError, rf"UNet: stage {TWO}, got .*do you mean plain_stage\(\)\?", stage=plain_stage
        ),
        refused(
            TypeError, f"UNet: stage {TWO}, got one that returns NoneType", stage=lambda i, o: None
        ),
        refused(
            ValueError,
            r"UNet: stage at level 0 must keep the size and return 4 channels, "
            r"but makes \(1, 4, 5, 8\) of \(1, 3, 7, 10\)",
            stage=lambda i, o: nn.Conv2d(i, o, 3),
        ),
        refused(
            ValueError,
            r"UNet: stage at level 0 must keep .* 4 channels, but makes \(1, 5, 7, 10\)",
            stage=lambda i, o: nn.Conv2d(i, o + 1, 1),
        ),
        refused(
            ValueError,
            r"UNet: stage at level 0 must run on \(1, 3, 7, 10\), but fails in its 0 \(Conv2d\): ",
            stage=lambda i, o: nn.Sequential(nn.Conv2d(i + 1, o, 1)),
        ),
        refused(
            ValueError,
            "UNet: stage at level 0 must run .* returns no tensor but a tuple",
            stage=lambda i, o: Two(),
        ),
        refused(
            ValueError,
            r"UNet: stage at level 0 must run on .* give image_size if it takes one size only",
            stage=lambda i, o: nn.Sequential(nn.Conv2d(i, o, 1), nn.LayerNorm((o, 20, 20))),
        ),
        refused(
            ValueError,
            r"UNet: stage, as the bottleneck, at level 1 must keep .* makes \(1, 6, 5, 8\)",
            stage=lambda i, o, level: nn.Conv2d(i, o, 1 + 2 * level),
        ),
        refused(
            ValueError,
            r"UNet: stage, in the decoder, at level 0 must keep .* makes \(1, 4, 5, 8\)",
            stage=lambda i, o: nn.Conv2d(i, o, 3 if i == 8 else 1),
        ),
        refused(
            ValueError,
            r"UNet: stage at level 0 must keep the size .* makes \(1, 4, 10, 7\) of",
            stage=lambda i, o: nn.Sequential(nn.Conv2d(i, o, 1), Turned()),
        ),
        refused(
            ValueError,
            "UNet: stage at level 0 must run .* its 1 .LayerNorm.: Given normalized_shape=.8",
            stage=plain_stage(norm=nn.LayerNorm),
            widths=(8, 8),
        ),
        refused(TypeError, f"UNet: bottleneck {TWO}, got 3", bottleneck=3),
        refused(
            ValueError,
            r"UNet: bottleneck at level 1 must keep the size and return 6 channels",
            bottleneck=lambda i, o: nn.Conv2d(i, o, 2),
        ),
        refused(
            ValueError,
            r"UNet: decoder_stage at level 0 must keep the size and return 4 channels",
            decoder_stage=lambda i, o: nn.Conv2d(i, o, 2),
        ),
        refused(TypeError, rf"UNet: up {TWO}, got Upsample\(", up=nn.Upsample(scale_factor=2)),
        refused(TypeError, f"UNet: up {TWO}, got 'bilinear'", up="bilinear"),
        refused(TypeError, r"UNet: up .*do you mean transposed\(\)\?", up=transposed),
        refused(
            ValueError,
            r"UNet: up at level 0 must multiply the size by the stride \(2, 2\), "
            r"but makes \(1, 4, 16, 22\) of \(1, 6, 7, 10\)",
            up=lambda i, o: nn.ConvTranspose2d(i, o, 4, 2),
        ),
        refused(
            ValueError, r"UNet: up at level 0 must multiply", up=lambda i, o: nn.Conv2d(i, o, 1)
        ),
        refused(
            ValueError,
            r"UNet: up at level 0 must multiply .* makes \(1, 6, 16, 16\) of \(1, 6, 7, 10\)",
            up=lambda i, o: nn.Upsample((16, 16)),
        ),
        refused(
            ValueError,
            r"UNet: down at level 0 must divide .* makes \(1, 4, 8, 8\) of \(1, 4, 14, 20\)",
            down=lambda channels: nn.AdaptiveMaxPool2d(8),
        ),
        refused(
            ValueError, "UNet: up at level 0 must run .* fails", up=lambda i, o: nn.Conv2d(o, i, 1)
        ),
        refused(
            TypeError,
            r"UNet: down must be a function that takes a number of channels .*, got MaxPool2d",
            down=nn.MaxPool2d(2),
        ),
        refused(TypeError, r"UNet: down .*do you mean max_pool\(\)\?", down=max_pool),
        refused(
            ValueError,
            r"UNet: down at level 0 must divide the size by the stride \(2, 2\), "
            r"but makes \(1, 4, 4, 6\) of \(1, 4, 14, 20\)",
            down=lambda channels: nn.MaxPool2d(3),
        ),
        refused(TypeError, f"UNet: skip {TWO}, got 'add'", skip="add"),
        refused(TypeError, r"UNet: skip .*do you mean concatenate\(\)\?", skip=concatenate),
        refused(TypeError, f"concatenate: gate {TWO}, got 3", skip=concatenate(3)),
        refused(
            ValueError,
            r"UNet: skip at level 0 must run on \(1, 6, 7, 10\) and \(1, 4, 7, 10\), but fails: ",
            skip=add(),
            up=upsample(kernel_size=None),
        ),
        refused(
            ValueError,
            r"UNet: skip at level 0 must keep the size, but makes \(1, 4, 4, 5\) of",
            skip=lambda i, o: Halved(),
        ),
        refused(
            ValueError,
            r"UNet: strides must be one number or 1, one less than widths, got \(2, 2\)",
            strides=(2, 2),
        ),
        refused(ValueError, "UNet: strides must be at least 1, got 0", strides=0),
        refused(TypeError, "UNet: strides must be an int, got '2'", strides="2"),
        refused(
            ValueError,
            r"UNet: strides must be one number or 2, got \(1, 2, 2\)",
            strides=[(1, 2, 2)],
        ),
        refused(TypeError, "UNet: widths must be a sequence of ints, got 16", widths=16),
        refused(TypeError, "UNet: bottleneck must be a function", bottleneck=nn.Sequential()),
        refused(TypeError, "UNet: decoder_stage must be a function", decoder_stage=nn.Sequential()),
        refused(TypeError, "UNet: down must be a function", down=nn.Sequential()),
        refused(TypeError, "UNet: widths must be a sequence of ints, got 'ab'", widths="ab"),
        refused(ValueError, "UNet: spatial_dims must be at most 3, got 4", spatial_dims=4),
        refused(TypeError, "UNet: spatial_dims must be an int, got '3d'", spatial_dims="3d"),
        refused(
            ValueError, r"UNet: image_size must be one number or 2, got \(8,\)", image_size=(8,)
        ),
        refused(
            TypeError,
            r"plain_stage: activation must be a function that takes no argument .*, got ReLU\(\)",
            stage=plain_stage(activation=nn.ReLU()),
        ),
        refused(
            TypeError,
            "plain_stage: norm must be a function that takes a number of channels .* BatchNorm2d",
            stage=plain_stage(norm=nn.BatchNorm2d(8)),
        ),
        refused(
            TypeError,
            r"plain_stage: drop must be a function that takes no argument .*, got Dropout\(",
            stage=plain_stage(drop=nn.Dropout(0.1)),
        ),
        refused(
            TypeError,
            "plain_stage: attention must be a function .*, got 'cbam'",
            stage=plain_stage(attention="cbam"),
        ),
        refused(
            ValueError,
            "plain_stage: norm must be for 2 spatial dimensions, got BatchNorm3d",
            stage=plain_stage(norm=nn.BatchNorm3d),
        ),
        refused(
            ValueError,
            "plain_stage: drop must be for 2 spatial dimensions, got DropBlock3d",
            stage=plain_stage(drop=DropBlock3d),
        ),
        refused(
            ValueError,
            "PreActResidual: drop must be for 2 spatial dimensions, got Dropout1d",
            stage=residual_stage(drop=nn.Dropout1d),
        ),
        refused(
            ValueError,
            "plain_stage: drop must be for 2 spatial dimensions, got Dropout3d",
            stage=plain_stage(drop=lambda: nn.Sequential(nn.Dropout3d(0.5))),
        ),
        refused(
            ValueError,
            "plain_stage: drop must be for 2 spatial dimensions, got Dropout1d",
            stage=plain_stage(drop=DropsChannels),
        ),
        refused(
            ValueError,
            "plain_stage: norm must be for 2 spatial dimensions, got InstanceNorm3d",
            stage=plain_stage(norm=lambda c: nn.Sequential(nn.Sequential(nn.InstanceNorm3d(c)))),
        ),
        refused(
            ValueError,
            "UNet: stage at level 0 must run on .* CBAM: x must have 5 dimensions",
            stage=plain_stage(attention=partial(CBAM, spatial_dims=3)),
        ),
        refused(
            TypeError,
            "PreActResidual: norm must be a function .*, got 'batch'",
            stage=residual_stage(norm="batch"),
        ),
        refused(
            TypeError,
            "PreActResidual: activation must be a function .*, got None",
            stage=rsan_stage(activation=None),
        ),
    ],
)
def test_refused_at_construction_by_name(error, slots, message):
    with pytest.raises(error, match=message):
        UNet(**{"widths": (4, 6), "stage": STAGE, **slots})


def test_what_partial_binds_is_kept():
    downs = UNet(widths=(2, 3), stage=STAGE, down=partial(strided_conv(3), spatial_dims=2)).downs
    assert downs[0].stride == (2, 2)
    with pytest.raises(ValueError, match=r"UNet: down at level 0 must divide .* stride \(2, 2\)"):
        UNet(widths=(2, 3), stage=STAGE, down=partial(max_pool(), stride=4))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_layer_that_needs_no_channels_is_given_none(dims):
    for stage in (plain_stage, residual_stage, rsan_stage):
        model = UNet(widths=(2, 3), stage=stage(attention=SpatialAttention), spatial_dims=dims)
        layers = [m for m in model.modules() if isinstance(m, SpatialAttention)]
        assert {m.spatial_dims for m in layers} == {dims}
        assert len(layers) == 3


def test_what_a_function_raises_says_in_which_slot():
    with pytest.raises(ValueError, match="divisible by num_groups") as caught:
        UNet(stage=residual_stage(norm=partial(nn.GroupNorm, 2)))
    assert caught.value.__notes__ == [
        "PreActResidual: raised by the function in norm, called with (3,)",
        "UNet: raised by the function in stage, called with (3, 16)",
    ]


class Two(nn.Module):
    def forward(self, x):
        return x, x


class Halved(nn.Module):
    def forward(self, x, skip):
        return skip[..., ::2, ::2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plain_stage(kernel_size=2), "plain_stage: kernel_size must be odd, got 2"),
        (lambda: plain_stage(dilation=0), "plain_stage: dilation must be at least 1, got 0"),
        (
            lambda: plain_stage(convolutions=0),
            "plain_stage: convolutions must be at least 1, got 0",
        ),
        (lambda: plain_stage(spatial_dims=4), "plain_stage: spatial_dims must be at most 3, got 4"),
        (lambda: rsan_stage(spatial_dims=0), "residual_stage: spatial_dims must be at least 1"),
        (lambda: PreActResidual(3, spatial_dims=4), "PreActResidual: spatial_dims must be at most"),
        (lambda: plain_stage()(0, 4), "plain_stage: in_channels must be at least 1, got 0"),
        (lambda: plain_stage()(3, 4, spatial_dims=4), "plain_stage: spatial_dims must be at most"),
        (lambda: max_pool()(3, spatial_dims=5), "max_pool: spatial_dims must be at most 3, got 5"),
        (lambda: transposed()(3, 4, spatial_dims=0), "transposed: spatial_dims must be at least 1"),
        (lambda: transposed()(3, 0), "transposed: out_channels must be at least 1, got 0"),
        (lambda: upsample()(3, 4, spatial_dims=4), "upsample: spatial_dims must be at most 3"),
        (lambda: strided_conv(0), "strided_conv: kernel_size must be at least 1, got 0"),
        (
            lambda: plain_stage(kernel_size=(3, 3, 3))(1, 2),
            r"plain_stage: kernel_size must be one number or 2, got \(3, 3, 3\)",
        ),
    ],
)
def test_factories_refuse_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stage_for_one_size():
    def stage(in_channels, out_channels, level):
        side = 24 >> level
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1), nn.LayerNorm((out_channels, side, side))
        )

    model = UNet(widths=(4, 6, 8), stage=stage, image_size=(23, 21))
    assert model(torch.rand(1, 3, 23, 21)).shape == (1, 1, 23, 21)


def test_functions_are_told_where_they_stand():
    told = []

    def note(slot):
        def function(*channels, level, spatial_dims, stride=None):
            told.append((slot, channels, level, spatial_dims, stride))
            make = {"down": max_pool, "up": transposed, "skip": concatenate}.get(
                slot, plain_stage
            )()
            offers = {"spatial_dims": spatial_dims, "stride": stride}
            return make(*channels, **{k: v for k, v in offers.items() if v is not None})

        return function

    slots = ("stage", "bottleneck", "decoder_stage", "down", "up", "skip")
    UNet(1, 2, widths=(2, 2, 2), strides=(2, (1, 3)), **{slot: note(slot) for slot in slots})
    assert sorted(told, key=lambda t: (slots.index(t[0]), t[2])) == [
        ("stage", (1, 2), 0, 2, None),
        ("stage", (2, 2), 1, 2, None),
        ("bottleneck", (2, 2), 2, 2, None),
        ("decoder_stage", (4, 2), 0, 2, None),
        ("decoder_stage", (4, 2), 1, 2, None),
        ("down", (2,), 0, 2, (2, 2)),
        ("down", (2,), 1, 2, (1, 3)),
        ("up", (2, 2), 0, 2, (2, 2)),
        ("up", (2, 2), 1, 2, (1, 3)),
        ("skip", (2, 2), 0, 2, None),
        ("skip", (2, 2), 1, 2, None),
    ]


def test_sizes_may_be_ranges_and_arrays():
    model = UNet(widths=range(2, 5), strides=np.array([[1, 2], [3, 1]]), stage=STAGE)
    assert model.strides == ((1, 2), (3, 1))
    assert all(type(n) is int for stride in model.strides for n in stride)


def test_bottleneck_and_decoder_have_stages_of_their_own():
    def identity(in_channels, out_channels):
        return nn.Conv2d(in_channels, out_channels, 1)

    model = UNet(
        widths=(4, 4, 4),
        stage=STAGE,
        bottleneck=plain_stage(dilation=3),
        decoder_stage=identity,
    )
    assert [type(m) for m in model.encoders] == [nn.Sequential] * 2
    assert {m.dilation for m in model.bottleneck if isinstance(m, nn.Conv2d)} == {(3, 3)}
    assert [type(m) for m in model.decoders] == [nn.Conv2d] * 2


def test_channels_follow_what_the_slots_return():
    model = UNet(
        widths=(4, 8, 16),
        stage=STAGE,
        down=lambda channels: nn.Conv2d(channels, 2 * channels, 2, stride=2),
        up=upsample("bilinear", kernel_size=None),
    )
    assert model.bottleneck[0].in_channels == 16  # twice the 8 of the stage before
    assert [decoder[0].in_channels for decoder in model.decoders] == [16 + 8, 8 + 4]
    assert model(torch.rand(1, 3, 11, 9)).shape == (1, 1, 11, 9)


def test_skips():
    def merged(skip):
        return UNet(widths=(4, 6), stage=STAGE, skip=skip).skips[0]

    torch.manual_seed(0)
    x, skip = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    assert torch.equal(merged(concatenate())(x, skip), torch.cat([x, skip], 1))
    assert torch.equal(merged(add())(x, skip), x + skip)
    for gated in (AttentionGate, concatenate(AttentionGate)):
        layer = merged(gated)
        assert torch.equal(layer(x, skip), torch.cat([x, layer.gate(x, skip)], 1))
    layer = merged(add(AttentionGate))
    assert torch.equal(layer(x, skip), x + layer.gate(x, skip))


def test_downs_are_torchs_modules_that_others_can_reach():
    strides = ((1, 2, 2), 3)
    for down, kind in (
        (max_pool(), nn.MaxPool3d),
        (avg_pool(), nn.AvgPool3d),
        (strided_conv(), nn.Conv3d),
    ):
        model = UNet(widths=(2, 3, 4), stage=STAGE, down=down, strides=strides, spatial_dims=3)
        assert [type(m) for m in model.downs] == [kind, kind]
        assert [m.stride for m in model.downs] == [
            (1, 2, 2),
            3 if kind is not nn.Conv3d else (3, 3, 3),
        ]


@pytest.mark.parametrize(
    "make",
    [max_pool, avg_pool, strided_conv, transposed, upsample, pixel_shuffle, plain_stage],
    ids=lambda make: make.__name__,
)
def test_factories_alone_are_told_their_dimensions(make):
    channels = 1 if make in (max_pool, avg_pool, strided_conv) else 2
    module = make(spatial_dims=3)(*[4] * channels)
    assert module(torch.rand(1, 4, 4, 4, 4)).dim() == 5
    with pytest.raises(ValueError, match=f"{make.__name__}: spatial_dims must be at most 3, got 4"):
        make(spatial_dims=4)
    in_a_network = {max_pool: "down", avg_pool: "down", strided_conv: "down", plain_stage: "stage"}
    slots = {"stage": STAGE, in_a_network.get(make, "up"): make(spatial_dims=3)}
    assert UNet(1, 1, widths=(2, 2), **slots)(torch.rand(1, 1, 8, 8)).dim() == 4  # its own


def test_others_tools_reach_what_is_between_the_stages():
    model = replace(rsan(widths=(2, 3)), nn.MaxPool2d, lambda pool: nn.AvgPool2d(2))
    assert [type(m) for m in model.downs] == [nn.AvgPool2d]
    assert model(torch.rand(1, 3, 9, 9)).shape == (1, 1, 9, 9)


def test_padding_is_to_the_product_of_strides_along_each_axis():
    sizes = []
    model = UNet(
        1, 1, widths=(2, 2, 2), strides=((1, 2, 3), (1, 3, 2)), stage=STAGE, spatial_dims=3
    )
    model.encoders[0].register_forward_hook(lambda m, args, out: sizes.append(tuple(out.shape[2:])))
    model.bottleneck.register_forward_hook(lambda m, args, out: sizes.append(tuple(out.shape[2:])))
    model.eval()(torch.rand(1, 1, 1, 13, 2))
    assert sizes == [(1, 18, 12), (1, 3, 2)]  # two at the end, but where nothing is divided


def test_plain_stage_keeps_its_names():
    bare = plain_stage()(3, 4)
    full = plain_stage(drop=nn.Dropout2d, attention=CBAM)(3, 4)
    assert [name for name, _ in full.named_children()] == [
        "0", "drop1", "1", "2", "3", "drop2", "4", "5", "attention",
    ]  # fmt: skip
    missing, unexpected = full.load_state_dict(bare.state_dict(), strict=False)
    assert unexpected == []
    assert {key.split(".")[0] for key in missing} == {"attention"}
    without = plain_stage(norm=None, bias=False)(3, 4)
    assert set(without.state_dict()) == {"0.weight", "3.weight"}


def test_the_trial_leaves_no_trace():
    class Noisy(nn.Module):
        """Random in evaluation, too, and with a part that stays in evaluation."""

        def __init__(self, in_channels, out_channels):
            super().__init__()
            self.conv = nn.Conv2d(in_channels, out_channels, 1)
            self.frozen = nn.BatchNorm2d(out_channels).eval()
            self.norm = nn.BatchNorm2d(out_channels)

        def forward(self, x):
            return torch.rand_like(self.norm(self.frozen(self.conv(x))))

    torch.manual_seed(0)
    model = UNet(widths=(4, 6), stage=Noisy)
    after = torch.rand(3)
    torch.manual_seed(0)
    others = [
        Noisy(3, 4),
        Noisy(4, 6),
        transposed()(6, 4),
        Noisy(8, 4),
        plain_stage(convolutions=1, kernel_size=1)(4, 1)[0],
    ]
    assert torch.equal(torch.rand(3), after)
    mine = [*model.encoders, model.bottleneck, *model.ups, *model.decoders, model.head]
    for one, other in zip(mine, others, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert [(m.frozen.training, m.norm.training, m.training) for m in model.encoders] == [
        (False, True, True)
    ]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failed_trial_leaves_no_hooks():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("out of paper\nand ink")

    made = []

    def stage(in_channels, out_channels):
        made.append(nn.Sequential(Fails()))
        return made[-1]

    with pytest.raises(ValueError, match=r"in its 0 \(Fails\): out of paper; give"):
        UNet(stage=stage)
    assert made[0].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made[0].modules())


def test_lazy_stages_are_made_of_the_right_size():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lazy modules are new, says torch
        model = UNet(widths=(4, 6), stage=lambda i, o: nn.LazyConv2d(o, 3, padding=1))
    assert model.decoders[0].in_channels == 8


def test_compiled_stages_are_not_compiled_for_the_trial():
    torch._dynamo.reset()
    counter = CompileCounter()

    def stage(in_channels, out_channels):
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        return torch.compile(conv, backend=counter)

    model = UNet(widths=(4, 6), stage=stage)
    assert counter.frame_count == 0
    with torch.no_grad():
        model(torch.rand(1, 3, 9, 9))
    assert counter.frame_count > 0


def test_options_are_documented_with_their_defaults():
    """A guard against slots that are added to one place alone."""
    slots = {"stage", "bottleneck", "decoder_stage", "down", "up", "skip"}
    names = set(inspect.signature(UNet).parameters)
    assert slots < names
    for name in names:
        assert f"        {name}: " in UNet.__doc__
