"""A `UNet` around an encoder of the user's."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from torchattn_blocks import AttentionGate, DropBlock2d, UNet, insert_after, plain_stage, rsan_stage
from torchattn_blocks.models import add, max_pool, transposed, upsample
from torchattn_blocks.models._encoder import pyramid_of

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
STAGE = plain_stage()


class Pyramid(nn.Module):
    """Strided convolutions, whose outputs it returns."""

    def __init__(self, widths=(4, 6, 8), strides=(2, 2, 2), channels=3, dims=2, kind=list):
        super().__init__()
        self.kind = kind
        self.stages = nn.ModuleList()
        for width, stride in zip(widths, strides, strict=True):
            conv = CONV[dims](channels, width, 3, stride=stride, padding=1)
            self.stages.append(nn.Sequential(conv, NORM[dims](width), nn.ReLU()))
            channels = width

    def forward(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        if self.kind is OrderedDict:
            return OrderedDict((str(i), one) for i, one in enumerate(features))
        return self.kind(features)


def built(encoder, **options):
    torch.manual_seed(0)
    return UNet(3, 1, **{"encoder": encoder, "stage": STAGE, **options})


@pytest.mark.parametrize("kind", [list, tuple, OrderedDict])
@pytest.mark.parametrize("size", [(64, 48), (57, 41), (1, 1), (9, 100)])
def test_any_size(kind, size):
    model = built(Pyramid(kind=kind)).eval()
    x = torch.rand(2, 3, *size)
    assert model(x).shape == (2, 1, *size)
    assert model.predict_proba(x).shape == (2, 1, *size)


def test_equals_its_parts_called_one_by_one():
    encoder = Pyramid()
    model = built(encoder, up=transposed(3)).eval()
    x = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        half, quarter, low = encoder(x)
        y = model.decoders[0](torch.cat([model.ups[0](low)[..., :8, :12], quarter], 1))
        y = model.decoders[1](torch.cat([model.ups[1](y)[..., :16, :24], half], 1))
        y = model.head(model.decoders[2](model.ups[2](y)[..., :32, :48]))
        torch.testing.assert_close(model(x), y)
    assert [d[0].in_channels for d in model.decoders] == [64 + 6, 32 + 4, 16]
    assert [d[0].out_channels for d in model.decoders] == [64, 32, 16]


@pytest.mark.parametrize(
    ("strides", "options", "decoder"),
    [
        ((4, 2), {}, 3),  # a stem of stride 4: two decoder stages without skip connection
        ((4, 2), {"strides": [4, 2]}, 2),
        ((4, 2), {"strides": [2, 2, 2]}, 3),
        ((1, 2), {}, 1),  # the largest feature maps have the size of the image
        ((3, 3), {"strides": 3}, 2),
        (((2, 1), (2, 2)), {"strides": [(2, 1), 2]}, 2),
    ],
)
def test_strides(strides, options, decoder):
    model = built(Pyramid((4, 6), strides), **options).eval()
    assert len(model.decoders) == decoder
    assert model(torch.rand(1, 3, 29, 31)).shape == (1, 1, 29, 31)


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions(dims):
    encoder = Pyramid(dims=dims)
    model = built(encoder, spatial_dims=dims, up=upsample()).eval()
    size = (17, 9, 21)[:dims]
    assert model(torch.rand(1, 3, *size)).shape == (1, 1, *size)


def test_all_slots_of_the_decoder():
    model = built(
        Pyramid((8, 16, 32)),
        stage=rsan_stage(),
        bottleneck=plain_stage(dilation=2),
        decoder_stage=plain_stage(drop=lambda: DropBlock2d(0.1)),
        widths=(4, 8, 16),
        skip=AttentionGate,
        up=upsample("nearest"),
        deep_supervision=2,
        memory_efficient=True,
    )
    logits = model(torch.rand(1, 3, 30, 20))
    assert [y.shape[2:] for y in logits] == [(30, 20), (15, 10)]
    assert (model.bottleneck[0].in_channels, model.bottleneck[0].dilation) == (32, (2, 2))
    gates = [m for m in model.modules() if isinstance(m, AttentionGate)]
    assert [gate.psi.in_channels for gate in gates] == [8, 4]  # none where nothing is skipped
    assert sum(isinstance(m, DropBlock2d) for m in model.modules()) == 6
    summed = built(Pyramid((8, 16, 32)), widths=(4, 8, 16), skip=add())
    assert summed(torch.rand(1, 3, 30, 20)).shape == (1, 1, 30, 20)


def step(model, memory_efficient=False):
    """The gradients of one step on the same image."""
    model = copy.deepcopy(model).train()
    model.memory_efficient = memory_efficient
    torch.manual_seed(1)
    model(torch.rand(2, 3, 24, 20)).square().sum().backward()
    return model, [w.grad for w in model.parameters()]


@pytest.mark.parametrize("memory_efficient", [True, "activations", "stages"])
def test_less_memory_gives_the_same_gradients_and_statistics(memory_efficient):
    model = built(Pyramid())
    plain, expected = step(model)
    saving, gradients = step(model, memory_efficient)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(saving.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_frozen_encoder_keeps_weights_and_statistics():
    """As the page on `UNet` says: no gradients, and evaluation mode after each `train`."""
    model = built(Pyramid())
    model.encoder.requires_grad_(False)
    before = copy.deepcopy(model.encoder.state_dict())
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    model.train()
    model.encoder.eval()
    first = model.decoders[-1][0].weight.detach().clone()
    for _ in range(2):
        model(torch.rand(2, 3, 24, 20)).square().sum().backward()
        optimizer.step()
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[key])
    assert not torch.equal(model.decoders[-1][0].weight, first)
    assert all(w.grad is None for w in model.encoder.parameters())


def test_building_leaves_the_encoder_as_it_was():
    encoder = Pyramid().train()
    encoder.stages[0].eval()
    before = copy.deepcopy(encoder.state_dict())
    encoder.stages[2].append(nn.Dropout(0.5)).train()
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    pyramid_of(encoder, 3, 2, 2, None)
    assert torch.equal(torch.rand(1), drawn)  # the trial draws no random numbers
    model = UNet(3, 1, encoder=encoder, stage=lambda i, o: nn.Conv2d(i, o, 3, padding=1))
    assert model.encoder is encoder
    assert [stage.training for stage in encoder.stages] == [False, True, True]
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key])
    assert {key.partition(".")[0] for key in model.state_dict()} == {
        "encoder", "ups", "decoders", "head",
    }  # fmt: skip


def test_maps_without_channels_are_left_out():
    class WithEmpty(Pyramid):
        def forward(self, x):
            first, *rest = super().forward(x)
            return [x, first[:, :0], *rest]

    model = built(WithEmpty()).eval()
    assert [type(skip).__name__ for skip in model.skips] == [
        "Concatenate",
        "Identity",
        "Concatenate",
    ]
    assert model.decoders[-1][0].in_channels == 16 + 3  # the image itself is a skip connection
    assert model(torch.rand(1, 3, 29, 31)).shape == (1, 1, 29, 31)


def test_an_encoder_for_one_size():
    class OneSize(Pyramid):
        def forward(self, x):
            if x.shape[2:] != (40, 56):
                raise ValueError(f"takes 40 x 56, got {tuple(x.shape[2:])}")
            return super().forward(x)

    message = (
        r"UNet: encoder must run on \(1, 3, 128, 192\), but fails: takes 40 x 56, .*image_size"
    )
    with pytest.raises(ValueError, match=message):
        built(OneSize())
    model = built(OneSize(), image_size=(40, 56)).eval()
    assert model(torch.rand(1, 3, 40, 56)).shape == (1, 1, 40, 56)

    class ChannelsLast(OneSize):
        def forward(self, x):
            return [one.movedim(1, -1) for one in super().forward(x)]

    # What it makes of the size that it takes, not that it refuses another one.
    with pytest.raises(ValueError, match="The channels seem to come last"):
        built(ChannelsLast(), image_size=(40, 56))


def test_a_size_that_must_be_padded():
    for strides in (2, [2, 2, 2]):
        model = built(Pyramid(), image_size=(37, 42), strides=strides).eval()
        assert model.strides == ((2, 2),) * 3
        assert model(torch.rand(1, 3, 37, 42)).shape == (1, 1, 37, 42)


class Whims(Pyramid):
    """Does something else where it is not tried."""

    def __init__(self, whim):
        super().__init__()
        self.whim = whim

    def forward(self, x):
        return self.whim(self, x, super().forward(x))


def at_one_size(module, x, features):
    return Pyramid.forward(module, nn.functional.interpolate(x, (64, 64)))


def one_more_in_training(module, x, features):
    return [*features, features[-1][..., ::2, ::2]] if module.training else features


def smaller_in_training(module, x, features):
    return [one[..., ::2, ::2] for one in features] if module.training else features


@pytest.mark.parametrize(
    ("whim", "message"),
    [
        (at_one_size, r"must divide \(128, 128\), .*, by 2, got feature maps of \(32, 32\)"),
        (one_more_in_training, "must return 3 feature maps, as when .*, got 4"),
        (
            smaller_in_training,
            r"must divide \(128, 128\), .*, by 2, got feature maps of \(32, 32\)",
        ),
    ],
)
def test_what_differs_from_the_trial_is_refused_when_it_happens(whim, message):
    model = built(Whims(whim), image_size=64)
    with pytest.raises(ValueError, match=f"UNet: encoder {message}"):
        model.train()(torch.rand(1, 3, 128, 127))


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


pool = max_pool()(3)


@pytest.mark.parametrize(
    ("encoder", "options", "error", "message"),
    [
        (Pyramid, {}, TypeError, "encoder must be a module that returns .*, got <class"),
        (lambda x: [x], {}, TypeError, "encoder must be a module that returns feature maps"),
        (
            Pyramid(),
            {"down": max_pool()},
            ValueError,
            "down must be None where there is an encoder",
        ),
        (
            Pyramid(),
            {"widths": (4, 8)},
            ValueError,
            r"widths must be one number for each of the 3 decoder stages, got \(4, 8\)",
        ),
        (
            Pyramid(),
            {"strides": [2, 4, 2]},
            ValueError,
            r"strides must lead to .* by 2, 4, 8, as \[2, 2, 2\] would, got \[2, 4, 2\]",
        ),
        (Pyramid(), {"strides": 4}, ValueError, "strides must lead to .* 2, 4, 8, as .*, got 4"),
        (Pyramid(), {"strides": 1}, ValueError, "strides must be at least 2, got 1"),
        (Pyramid(), {"strides": 3}, ValueError, "encoder must divide the size"),
        (
            Pyramid((2,) * 6, (2,) * 6),
            {"strides": [2, 2]},
            ValueError,
            r"strides must lead to .* by 2, 4, 8, 16, 32, 64, as \[2, 2, 2, 2, 2, 2\] would",
        ),
        (Pyramid(), {"strides": [4, 2]}, ValueError, "strides must lead to the sizes"),
        (Pyramid(), {"strides": [2, 2, 2, 2]}, ValueError, "strides must lead to the sizes"),
        (Pyramid(), {"widths": ()}, ValueError, r"widths must be one number for .*, got \(\)"),
        (Pyramid(), {"strides": "2"}, TypeError, "strides must be an int, got '2'"),
        (Pyramid(), {"strides": []}, ValueError, "strides must have one entry or more"),
        (Pyramid(), {"strides": 0}, ValueError, "strides must be at least 2, got 0"),
        (Pyramid(), {"strides": [2, "2", 2]}, TypeError, "strides must be an int, got '2'"),
        (Pyramid(), {"stage": None}, TypeError, "stage, in the decoder, must be a function"),
        (
            Pyramid(channels=1),
            {},
            ValueError,
            r"encoder must run on \(1, 3, 128, 192\), but fails in its stages.0.0 .*in_channels",
        ),
        (
            nn.Conv2d(3, 4, 3, padding=1),
            {},
            ValueError,
            "encoder must return a list, tuple or dictionary of tensors .*, got Tensor$",
        ),
        (Returns(lambda x: []), {}, ValueError, "encoder must return .*, got an empty list$"),
        (
            Returns(lambda x: [pool(x), x.mean((2, 3))]),
            {},
            ValueError,
            r"encoder must return a list, .* with 4 dimensions .*, got \['Tensor', 'Tensor'\]",
        ),
        (
            Returns(lambda x: [pool(pool(x)), pool(x)]),
            {},
            ValueError,
            r"encoder must return smaller and smaller feature maps, .*got \[\(1, 3, 32, 48\), ",
        ),
        (Returns(lambda x: [pool(x), pool(x)]), {}, ValueError, ".* smaller and smaller"),
        (Returns(lambda x: [x]), {}, ValueError, ".* and some smaller than the image, got"),
        (
            Returns(lambda x: [pool(x)[..., :-1, :-1]]),
            {},
            ValueError,
            r"encoder must divide .*, but makes \[\(1, 3, 63, 95\)\] of \(128, 192\)$",
        ),
        (
            Returns(lambda x: [pool(x)[..., :-1]]),
            {},
            ValueError,
            r"encoder must divide .*, but makes \[\(1, 3, 64, 95\)\] of \(128, 192\)$",
        ),
        (
            Returns(lambda x: [pool(x).movedim(1, -1)]),
            {},
            ValueError,
            ".* of .128, 192.. The channels seem to come last: permute them",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(encoder, options, error, message):
    with pytest.raises(error, match=f"UNet: {message}"):
        built(encoder, **options)


def test_without_an_encoder_a_stage_is_needed():
    with pytest.raises(TypeError, match=r"UNet: stage must be a function .*, got None"):
        UNet(3, 1)


def test_exports_holds_for_all_sizes_traces_and_compiles():
    torch._dynamo.reset()
    for kind in (list, OrderedDict):
        model = built(Pyramid((4, 6), (4, 2), kind=kind), up=transposed(3)).eval()
        size = {2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
        program = torch.export.export(model, (torch.rand(1, 3, 37, 42),), dynamic_shapes=(size,))
        compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
        traced = torch.fx.symbolic_trace(model)
        for shape in [(37, 42), (64, 32), (21, 90), (3, 50)]:
            x = torch.rand(1, 3, *shape)
            for other in (program.module(), compiled, traced):
                torch.testing.assert_close(other(x), model(x))


def test_surgery_reaches_into_the_encoder():
    model = built(Pyramid())
    changed = insert_after(model, "encoder.stages.*.1", lambda norm: DropBlock2d(0.2))
    assert sum(isinstance(m, DropBlock2d) for m in changed.encoder.modules()) == 3
    assert changed(torch.rand(1, 3, 24, 24)).shape == (1, 1, 24, 24)


def test_the_mode_and_repr_show_the_encoder():
    model = built(Pyramid())
    assert re.search(r"\(encoder\): Pyramid\(", repr(model))
    assert not model.eval().encoder.training
