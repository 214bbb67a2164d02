"""Exported networks hold for every size that eager code takes: named sizes, small ones, ONNX."""

import onnxruntime
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from torchattn_blocks import UNet, plain_stage, rsan, unet
from torchattn_blocks.models import (
    add,
    avg_pool,
    max_pool,
    pixel_shuffle,
    strided_conv,
    transposed,
    upsample,
)

Dim = torch.export.Dim
SIZES = [(37, 42), (64, 32), (21, 90), (1, 1), (4, 4), (3, 50), (8, 2), (12, 1)]
NETWORKS = {
    "rsan": lambda: rsan(widths=(2, 3, 4, 5)),
    "unet, transposed 3 x 3": lambda: unet(widths=(2, 3, 4), up_kernel_size=3),
    "bilinear": lambda: other(up=upsample("bilinear")),
    "nearest": lambda: other(up=upsample("nearest", kernel_size=None)),
    "pixel shuffle": lambda: other(up=pixel_shuffle(), strides=((1, 2), 3)),
    "mean, sum": lambda: other(down=avg_pool(), skip=add(), up=transposed(5)),
}


def other(**slots):
    return UNet(3, 1, widths=(2, 3, 4), stage=plain_stage(), **slots)


def randomised(name):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    model(torch.rand(4, 3, 40, 40))  # running statistics that are not the initial ones
    return model.eval()


NAMED = {2: Dim("h"), 3: Dim("w")}


def holds_for_all_sizes(name, dims):
    model = randomised(name)
    program = torch.export.export(model, (torch.rand(2, 3, 37, 42),), dynamic_shapes=(dims,))
    for size in SIZES:
        x = torch.rand(2, 3, *size)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_exports_with_named_height_and_width(name):
    holds_for_all_sizes(name, NAMED)


@pytest.mark.parametrize(
    "dims",
    [
        {0: Dim("n"), 2: Dim("h", min=1, max=4096), 3: Dim("w", min=1, max=4096)},
        {2: Dim.AUTO, 3: Dim.AUTO},
        {2: Dim.DYNAMIC, 3: Dim.DYNAMIC},
    ],
    ids=["from 1 on", "auto", "dynamic"],
)
def test_exports_with_height_and_width_said_otherwise(dims):
    holds_for_all_sizes("unet, transposed 3 x 3", dims)


@pytest.mark.parametrize(
    "name",
    [
        "unet, transposed 3 x 3",
        pytest.param("bilinear", marks=pytest.mark.slow),
        pytest.param("pixel shuffle", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own parts
def test_onnx_with_named_height_and_width(name):
    model = randomised(name)
    example = torch.rand(2, 3, 37, 42)
    program = torch.onnx.export(
        model, (example,), dynamo=True, dynamic_shapes=(NAMED,), verbose=False
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for size in SIZES:
        x = torch.rand(2, 3, *size)
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rsan", "unet, transposed 3 x 3", "pixel shuffle"])
@pytest.mark.filterwarnings("ignore")  # torch has deprecated it, and warns of checks of shapes
def test_a_trace_holds_for_all_sizes(name):
    model = randomised(name)
    traced = torch.jit.trace(model, torch.rand(2, 3, 37, 42))
    for size in SIZES:
        x = torch.rand(2, 3, *size)
        torch.testing.assert_close(traced(x), model(x))


@pytest.mark.filterwarnings("ignore")
def test_onnx_of_a_trace_holds_for_all_sizes(tmp_path):
    model = randomised("unet, transposed 3 x 3")
    torch.onnx.export(
        model,
        (torch.rand(2, 3, 37, 42),),
        tmp_path / "unet.onnx",
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": [2, 3]},
    )
    session = onnxruntime.InferenceSession(tmp_path / "unet.onnx")
    for size in SIZES:
        x = torch.rand(2, 3, *size)
        (y,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "down", [max_pool(), avg_pool(), strided_conv()], ids=["max", "mean", "conv"]
)
def test_sequences_export_with_any_length_and_compile_once(down):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = UNet(
        1, 1, widths=(2, 3), stage=plain_stage(norm=None), down=down, spatial_dims=1
    ).eval()
    largest = None if torch.__version__ >= "2.13" else 2**24  # torch 2.10 needs one
    size = {2: Dim("length", max=largest)}
    program = torch.export.export(model, (torch.rand(1, 1, 17),), dynamic_shapes=(size,))
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for length in (17, 1, 2, 12, 31):
        x = torch.rand(1, 1, length)
        torch.testing.assert_close(program.module()(x), model(x))
        if length > 1:
            torch.testing.assert_close(compiled(x), model(x))
    assert counter.frame_count == 1


def test_volumes_export_with_any_size():
    torch.manual_seed(0)
    options = {"widths": (2, 3, 4), "strides": ((1, 2, 2), 2), "spatial_dims": 3}
    model = UNet(1, 2, stage=plain_stage(), **options).eval()
    size = {2: Dim("d"), 3: Dim("h"), 4: Dim("w")}
    program = torch.export.export(model, (torch.rand(1, 1, 7, 18, 9),), dynamic_shapes=(size,))
    for shape in ((7, 18, 9), (1, 1, 1), (2, 30, 3), (12, 4, 21)):
        x = torch.rand(1, 1, *shape)
        torch.testing.assert_close(program.module()(x), model(x))


def test_one_small_image_can_be_trained_on():
    """With one position left at the bottleneck batch normalisation would refuse it."""
    for preset in (rsan, unet):
        preset(widths=(2, 3, 4)).train()(torch.rand(1, 3, 1, 1)).sum().backward()
