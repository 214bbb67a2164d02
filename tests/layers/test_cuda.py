"""DropBlock on a GPU: what Triton's interpreter cannot tell (test_paint_triton.py)."""

import math
import os

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels must be compiled: unset TRITON_INTERPRET", allow_module_level=True)
pytest.importorskip("triton", reason="needs Triton")

from paint_restated import blocks

from torchattn_blocks import DropBlock2d
from torchattn_blocks.functional import drop_block2d
from torchattn_blocks.layers._block_mask import exact_intensity, position_scale
from torchattn_blocks.layers._drop_block_op import drop_block_operator

P = 0.3
SCALES = ["constant", "batch", "position", "none"]
CASES = [
    ((2, 3, 9), (4,)),
    ((2, 3, 1000), (7,)),
    ((3, 41), (5,)),
    ((2, 3, 7, 7), (7, 7)),
    ((2, 3, 6, 9), (2, 3)),
    ((2, 16, 74, 75), (7, 7)),
    ((2, 4, 130, 300), (70, 90)),
    ((3, 64, 64), (1, 1)),
    ((2, 3, 4, 5, 6), (2, 2, 3)),
    ((2, 2, 17, 20, 40), (3, 4, 5)),
]


def dropped(x, block, scale="constant", channelwise=True, seed=5):
    """As the layer does it, but with a seed of ours."""
    seed = torch.tensor(seed, device="cuda")
    rate = torch.tensor(P, dtype=torch.float64)
    return drop_block_operator(x, seed, rate, block, "exact", scale, channelwise)


def zeros(x):
    return x == 0


@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize(("shape", "block"), CASES, ids=str)
def test_draws_what_the_restatement_draws(shape, block, channelwise):
    """But for a hit in ten million, where a GPU rounds a logarithm differently."""
    size = shape[-len(block) :]
    planes = shape[: -len(block)]
    masks = planes if channelwise else (*planes[:-1], 1)
    mask = blocks(5, math.prod(masks), size, block, exact_intensity(P, size, block))
    found = zeros(dropped(torch.ones(shape, device="cuda"), block, "none", channelwise)).cpu()
    assert torch.equal(found, mask.view(*masks, *size).expand(shape))
    assert 0 < found.sum() < found.numel()


@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str
)
def test_scales_and_dtypes(dtype, scale, channelwise):
    shape, block = (2, 3, 40, 75), (5, 7)
    mask = zeros(dropped(torch.ones(shape, device="cuda"), block, "none", channelwise))
    times = {
        "constant": 1 / (1 - P),
        "batch": mask.numel() / int((~mask).sum()),
        "position": torch.from_numpy(
            position_scale(P, exact_intensity(P, shape[2:], block), shape[2:], block)
        ).cuda(),
        "none": 1.0,
    }[scale]
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(shape, device="cuda").to(dtype).contiguous(memory_format=layout)
        out = dropped(x, block, scale, channelwise)
        assert out.dtype == dtype
        assert out.is_contiguous(memory_format=layout)
        assert not out[mask].any()
        torch.testing.assert_close(out, (x.double() * times).to(dtype).masked_fill(mask, 0))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("inplace", [False, True])
def test_one_mask_forward_and_backward(scale, inplace):
    """Also where the gradient's memory format is another, so that another kernel is compiled."""
    x = torch.ones(2, 16, 50, 70, device="cuda", requires_grad=True)
    out = drop_block2d(x * 1, P, 5, scale=scale, inplace=inplace)
    for gradient in (
        torch.ones_like(out),
        torch.ones_like(out, memory_format=torch.channels_last),
        torch.ones((), device="cuda").expand(out.shape),
    ):
        (grad,) = torch.autograd.grad(out, x, gradient, retain_graph=True)
        assert torch.equal(grad, out)


def test_infinities_are_dropped():
    out = dropped(torch.full((2, 3, 40, 40), math.inf, device="cuda"), (5, 5), "batch")
    assert ((out == 0) | (out == math.inf)).all()
    assert zeros(out).any()


def test_all_dropped_is_zero():
    x = torch.full((2, 3, 4, 4), math.inf, device="cuda")
    assert zeros(drop_block2d(x, 1 - 1e-12, 4, scale="batch")).all()


def test_keeps_what_was_asked():
    kept = (drop_block2d(torch.ones(64, 64, 74, 74, device="cuda"), 0.15, 7) != 0).double()
    planes = kept.flatten(2).mean(2)
    assert (planes.mean() - 0.85).abs() < 6 * planes.std() / math.sqrt(planes.numel())


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_generators_repeat(device):
    x = torch.ones(2, 3, 40, 40, device="cuda")
    generator = torch.Generator(device).manual_seed(1)
    first, second = (drop_block2d(x, P, 5, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, drop_block2d(x, P, 5, generator=generator.manual_seed(1)))


def test_manual_seed_repeats():
    x = torch.ones(2, 3, 40, 40, device="cuda")
    outs = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        outs.append(drop_block2d(x, P, 5))
    assert torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0], outs[1])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("scale", SCALES)
def test_the_host_never_waits(scale):
    x = torch.ones(2, 3, 40, 40, device="cuda", requires_grad=True)
    gradient = torch.ones_like(x)
    layer = DropBlock2d(P, 5, scale=scale)
    layer(x).backward(gradient)  # compiles the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(x).backward(gradient)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("scale", SCALES)
def test_a_cuda_graph_draws_a_new_mask_at_each_replay(scale):
    x = torch.ones(2, 3, 40, 40, device="cuda", requires_grad=True)
    gradient = torch.ones_like(x)
    layer = DropBlock2d(P, 5, scale=scale)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # as torch's documentation warms up
        torch.autograd.grad(layer(x), x, gradient)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = layer(x)
        (grad,) = torch.autograd.grad(out, x, gradient)
    outs = []
    for _ in range(3):
        graph.replay()
        assert torch.equal(out, grad)
        assert zeros(out).any()
        outs.append(out.detach().clone())
    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[1], outs[2])


@pytest.mark.filterwarnings("ignore")  # inductor advises on the GPU at hand
@pytest.mark.parametrize("scale", SCALES)
def test_compiled_code(scale):
    x = torch.ones(2, 3, 40, 40, device="cuda", requires_grad=True)
    out = torch.compile(DropBlock2d(P, 5, scale=scale), fullgraph=True)(x)
    out.backward(torch.ones_like(out))
    assert torch.equal(x.grad, out)
    assert zeros(out).any()


def test_no_mask_in_memory():
    x = torch.ones(2, 16, 592, 592, device="cuda", requires_grad=True)
    layer = DropBlock2d(P, 7)
    small = 2**16
    layer(x).backward(x.detach())  # compiles the kernels
    x.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = layer(x)
    assert torch.cuda.max_memory_allocated() - before <= out.nbytes + small
    out.backward(x.detach())
    assert torch.cuda.max_memory_allocated() - before <= 2 * out.nbytes + small


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_runs_where_its_input_is():
    x = torch.ones(2, 3, 40, 40, device="cuda:1")
    assert torch.equal(dropped(x, (5, 5)).cpu(), dropped(x.cuda(0), (5, 5)).cpu())
