"""Deep supervision: logits of several sizes in training, the first alone otherwise."""

import numpy as np
import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import nn
from torch.nn import functional as F

from torchattn_blocks import UNet, monte_carlo, plain_stage, rsan, unet
from torchattn_blocks.models import transposed

STRIDES = [(1, 2), 3]


def shapes(logits):
    return [tuple(one.shape[2:]) for one in logits]


@pytest.mark.parametrize("size", [(64, 48), (57, 41), (3, 1)])
def test_training_gives_a_list_and_evaluation_its_first(size):
    torch.manual_seed(0)
    model = unet(3, 2, widths=(2, 3, 4, 5), deep_supervision=True)
    x = torch.rand(2, 3, *size)
    logits = model(x)
    assert isinstance(logits, list)
    assert shapes(logits) == [tuple(-(-n // step) for n in size) for step in (1, 2, 4)]
    assert {one.shape[:2] for one in logits} == {(2, 2)}
    y = model.eval()(x)
    assert isinstance(y, torch.Tensor)
    assert y.shape == (2, 2, *size)


@pytest.mark.parametrize(
    ("asked", "number"), [(False, 0), (0, 0), (1, 1), (2, 2), (3, 3), (True, 3), (np.int64(2), 2)]
)
def test_how_many_sizes_have_logits(asked, number):
    model = unet(widths=(2, 3, 4, 5), deep_supervision=asked)
    logits = model(torch.rand(1, 3, 16, 16))
    assert model.deep_supervision == number
    if number:
        assert shapes(logits) == [(16, 16), (8, 8), (4, 4)][:number]
    else:
        assert isinstance(logits, torch.Tensor)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (4, ValueError, "UNet: deep_supervision must be at most 3, got 4"),
        (-1, ValueError, "UNet: deep_supervision must be at least 0, got -1"),
        ("all", TypeError, "UNet: deep_supervision must be an int, got 'all'"),
        (1.0, TypeError, "UNet: deep_supervision must be an int, got 1.0"),
    ],
)
def test_a_wrong_number_is_refused(asked, error, message):
    with pytest.raises(error, match=message):
        unet(deep_supervision=asked)


def test_it_can_be_turned_off_and_on():
    model = unet(widths=(2, 3, 4, 5), deep_supervision=True)
    x = torch.rand(1, 3, 16, 16)
    model.deep_supervision = False
    assert model(x).shape == (1, 1, 16, 16)
    model.deep_supervision = 2
    assert shapes(model(x)) == [(16, 16), (8, 8)]
    model.deep_supervision = True
    assert shapes(model(x)) == [(16, 16), (8, 8), (4, 4)]
    for wrong, error in ((4, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="UNet: deep_supervision must be"):
            model.deep_supervision = wrong
    model = unet(widths=(2, 3, 4, 5))
    with pytest.raises(
        ValueError, match="at most 1, since the network was built with 0 deep_heads"
    ):
        model.deep_supervision = True


def test_weights_go_both_ways_with_heads_missing_or_unexpected():
    plain, deep = unet(widths=(2, 3, 4)), unet(widths=(2, 3, 4), deep_supervision=True)
    heads = ["deep_heads.0.weight", "deep_heads.0.bias"]
    assert plain.load_state_dict(deep.state_dict(), strict=False) == ([], heads)
    assert deep.load_state_dict(plain.state_dict(), strict=False) == (heads, [])


def test_strides_of_each_axis_count():
    model = UNet(
        1, 1, widths=(2, 3, 4), strides=STRIDES, stage=plain_stage(), deep_supervision=True
    )
    assert shapes(model(torch.rand(1, 1, 10, 9))) == [(10, 9), (10, 5)]
    model = UNet(
        1,
        1,
        widths=(2, 3, 4),
        strides=[2, (1, 2, 3)],
        stage=plain_stage(),
        deep_supervision=True,
        spatial_dims=3,
    )
    assert shapes(model(torch.rand(1, 1, 5, 6, 7))) == [(5, 6, 7), (3, 3, 4)]


def test_a_position_is_that_of_its_pixels():
    """What is cut off stands for padding alone: logits come from the decoder's first positions."""
    model = unet(widths=(2, 3, 4), deep_supervision=True)
    seen = []
    model.decoders[0].register_forward_hook(lambda *args: seen.append(args[2]))
    logits = model(torch.rand(1, 3, 17, 10))
    full = model.deep_heads[0](seen[0])
    assert full.shape[2:] == (10, 6)
    torch.testing.assert_close(logits[1], full[:, :, :9, :5])


def test_the_network_itself_starts_as_without():
    torch.manual_seed(0)
    plain = rsan(widths=(2, 3, 4))
    torch.manual_seed(0)
    deep = rsan(widths=(2, 3, 4), deep_supervision=True)
    left = deep.load_state_dict(plain.state_dict(), strict=False)
    assert left.missing_keys == ["deep_heads.0.weight", "deep_heads.0.bias"]
    assert left.unexpected_keys == []
    torch.manual_seed(0)
    again = rsan(widths=(2, 3, 4), deep_supervision=True)
    for key, value in plain.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def learned(model, loss, steps=60):
    """The loss before and after some steps on one image with a vertical bar."""
    x = torch.zeros(1, 3, 37, 42)
    x[..., 12:18] = 1
    target = x[:, :1]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(loss(model(x), target))
        losses[-1].backward()
        optimizer.step()
    return losses[0].item(), losses[-1].item()


def test_monais_loss_takes_the_list():
    torch.manual_seed(0)
    model = unet(widths=(4, 6, 8), deep_supervision=True)
    loss = DeepSupervisionLoss(DiceCELoss(sigmoid=True))
    first, last = learned(model, loss)
    assert last < first / 3
    x, target = torch.rand(1, 3, 37, 42), torch.ones(1, 1, 37, 42)
    outputs = model(x)
    halved = F.interpolate(target, outputs[1].shape[2:], mode="nearest-exact")
    single = DiceCELoss(sigmoid=True)
    expected = single(outputs[0], target) + 0.5 * single(outputs[1], halved)
    torch.testing.assert_close(loss(outputs, target), expected)


WEIGHTS = [1, 1 / 2]


def weighted_sum(outputs, targets):
    """nnU-Net's wrapper: a loss of each pair of logits and reduced target, weighted and added."""
    pairs = zip(WEIGHTS, outputs, targets, strict=True)
    return sum(w * F.binary_cross_entropy_with_logits(y, t) for w, y, t in pairs)


def reduced(target, outputs):
    return [F.interpolate(target, y.shape[2:], mode="nearest-exact") for y in outputs]


def test_a_weighted_sum_over_reduced_targets():
    torch.manual_seed(0)
    model = unet(widths=(4, 6, 8), deep_supervision=True)
    first, last = learned(model, lambda y, t: weighted_sum(y, reduced(t, y)))
    assert last < first / 3


def test_nnunets_wrapper_takes_the_list():
    wrapped = pytest.importorskip(
        "nnunetv2.training.loss.deep_supervision", reason="nnunetv2 is not installed"
    )
    loss = wrapped.DeepSupervisionWrapper(nn.BCEWithLogitsLoss(), WEIGHTS)
    outputs = unet(widths=(4, 6, 8), deep_supervision=True)(torch.rand(1, 3, 37, 42))
    targets = reduced(torch.rand(1, 1, 37, 42).round(), outputs)
    torch.testing.assert_close(loss(outputs, targets), weighted_sum(outputs, targets))


def test_each_head_learns():
    model = rsan(widths=(2, 3, 4, 5), deep_supervision=True)
    sum(logits.mean() for logits in model(torch.rand(2, 3, 24, 24))).backward()
    assert len(model.deep_heads) == 2
    for head in (model.head, *model.deep_heads):
        assert head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("memory_efficient", [True, "activations", "stages"])
def test_less_memory_gives_the_same_gradients(memory_efficient):
    gradients = []
    for setting in (False, memory_efficient):
        torch.manual_seed(0)
        model = rsan(widths=(2, 3, 4), deep_supervision=True, memory_efficient=setting)
        torch.manual_seed(1)
        sum(y.square().sum() for y in model(torch.rand(1, 3, 20, 22))).backward()
        gradients.append([w.grad for w in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_probabilities_are_those_of_the_full_size():
    torch.manual_seed(0)
    model = unet(widths=(2, 3, 4), deep_supervision=True)
    x = torch.rand(2, 3, 20, 22)
    expected = model(x)[0].sigmoid()
    torch.testing.assert_close(model.predict_proba(x), expected)
    dropping = rsan(widths=(2, 3), deep_supervision=True)
    with monte_carlo(dropping):
        assert dropping(x).shape == (2, 1, 20, 22)


@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own parts
def test_exports_give_the_full_size_alone():
    torch.manual_seed(0)
    model = unet(widths=(2, 3, 4), up_kernel_size=3, deep_supervision=True).eval()
    size = {2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    x = torch.rand(1, 3, 37, 42)
    program = torch.export.export(model, (x,), dynamic_shapes=(size,))
    y = torch.rand(1, 3, 21, 90)
    torch.testing.assert_close(program.module()(y), model(y))
    onnx = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=(size,), verbose=False)
    assert len(onnx.model.graph.outputs) == 1


def test_compiles_and_traces_in_training():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = UNet(
        3,
        1,
        widths=(2, 3, 4),
        stage=plain_stage(norm=nn.InstanceNorm2d),
        up=transposed(3),
        deep_supervision=True,
    )
    x = torch.rand(1, 3, 37, 42)
    expected = model(x)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    traced = torch.fx.symbolic_trace(model)
    for got in (compiled(x), traced(x)):
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)
