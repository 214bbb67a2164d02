"""The contract under others' tools: offloaded, sharded, pruned, quantised, exported, compiled.

What costs seconds runs for one row of each family, for the others by `pytest -m slow`.
"""

import io
from collections.abc import Callable

import accelerate
import onnxruntime
import pytest
import torch
from contract_rows import (
    ROWS,
    SMALL,
    Row,
    every_row,
    image,
    is_random,
    made,
    one_row_a_family,
    seeded,
    varies,
)
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.experimental import local_map
from torch.nn.utils import parametrizations, prune

from torchattn_blocks import CBAM, DropBlock2d, SpatialAttention, StochasticDepth, rsan
from torchattn_blocks.layers.drop_block import DropBlock

# What users do to the convolution inside an attention layer, each of which must be felt.


def changed_by(change: Callable[[SpatialAttention], object]) -> bool:
    layer = made(Row("", SpatialAttention))
    x = image()
    before = layer(x)
    change(layer)
    after = layer(x)
    return bool(after.isfinite().all()) and not torch.equal(before, after)


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "conv", Doubled(layer.conv)),  # as LoRA wraps
        lambda layer: prune.l1_unstructured(layer.conv, "weight", amount=0.5),
        lambda layer: parametrizations.weight_norm(
            layer.conv
        ).parametrizations.weight.original0.data.mul_(3),
        lambda layer: layer.conv.register_forward_hook(lambda m, x, y: y + 1),
        lambda layer: setattr(layer, "conv", nn.Conv2d(2, 1, 3, padding=2, dilation=2)),
        lambda layer: setattr(layer, "conv", nn.Conv2d(2, 1, 3, padding=1, padding_mode="reflect")),
    ],
    ids=["wrapper", "pruning", "weight norm", "hook", "dilated", "reflect"],
)
def test_a_changed_convolution_is_called(change):
    assert changed_by(change)


@every_row
def test_offloading_by_accelerate(row):
    layer = made(row, training=False)
    expected = layer(row.image())
    accelerate.cpu_offload(layer, execution_device=torch.device("cpu"))
    assert torch.equal(layer(row.image()), expected)


def test_tools_that_switch_dropout_find_drop_block():
    model = rsan(**SMALL).eval()
    found = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    assert len(found) == sum(isinstance(m, DropBlock) for m in model.modules()) == 12
    for module in found:
        module.train()
    assert not torch.equal(model(image(2, 3, 40, 40)), model(image(2, 3, 40, 40)))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_a_quantised_tensor_passes_in_evaluation():
    x = torch.quantize_per_tensor(torch.rand(1, 1, 3, 3), 0.1, 0, torch.quint8)
    assert DropBlock2d().eval()(x) is x


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantisation_aware_training_sees_every_convolution():
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    model = rsan(**SMALL)
    model.qconfig = get_default_qat_qconfig("x86")
    prepared = prepare_qat(model)
    convs = [m for m in prepared.modules() if isinstance(m, nn.Conv2d)]
    assert {type(m) for m in convs} == {torch.ao.nn.qat.Conv2d}
    prepared(image()).sum().backward()
    attention = prepared.bottleneck[1].attention.conv
    assert attention.weight.grad is not None
    assert attention.weight_fake_quant.activation_post_process.min_val.isfinite().all()


@every_row
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_every_convolution_can_be_sharded_alone(row, one_process_group):
    layer = made(row, training=False)
    expected = layer(row.image())
    for module in list(layer.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fully_shard(module, mesh=one_process_group)
    fully_shard(layer, mesh=one_process_group)
    torch.testing.assert_close(layer(row.image()), expected)
    layer.train()(row.image().requires_grad_()).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@every_row
def test_distributed_data_parallel(row, one_process_group):
    layer = made(row)
    if not any(True for _ in layer.parameters()):
        pytest.skip("torch refuses a module without parameters")
    parallel = nn.parallel.DistributedDataParallel(layer)
    assert torch.equal(seeded(parallel, row.image()), seeded(made(row), row.image()))
    parallel(row.image()).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@one_row_a_family()
@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own parts
def test_onnx_for_all_sizes(row):
    layer = made(row, training=False)
    program = torch.onnx.export(
        layer, (row.image(),), dynamo=True, dynamic_shapes=(row.any_size,), verbose=False
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (name,) = (node.name for node in session.get_inputs())
    for x in (row.image(), row.image(2, 3, 9, 15)):
        (y,) = session.run(None, {name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_in_training_mode_says_what_to_do(dynamo):
    with pytest.raises(Exception, match=r"drop_block2d: .* Call model\.eval\(\) before"):
        torch.onnx.export(
            DropBlock2d(0.3, 3),
            (image(),),
            io.BytesIO(),
            dynamo=dynamo,
            training=torch.onnx.TrainingMode.TRAINING,
            verbose=False,
        )


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_dtensor_is_dropped_part_by_part(one_process_group, compiled):
    torch._dynamo.reset()
    layer = DropBlock2d(0.3, 3)
    run = torch.compile(layer, backend="aot_eager", fullgraph=True) if compiled else layer
    x = distribute_tensor(image(2, 3, 20, 20), one_process_group, [Shard(0)]).requires_grad_()
    said = r"drop_block2d: x must not be a DTensor\..*local_map"
    if compiled and torch.__version__ < "2.9":  # whose compiled code may show no message of ours
        said += "|Observed exception"
    with pytest.raises(Exception, match=said):
        run(x)
    y = local_map(layer, list(x.placements))(x)
    assert y.placements == x.placements
    y.sum().backward()
    assert torch.equal(x.grad.to_local() != 0, y.to_local() != 0)
    assert 0 < (x.grad.to_local() == 0).sum() < x.numel()
    assert layer.eval()(x) is x


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_samples_of_a_dtensor_are_dropped_part_by_part(one_process_group):
    layer = StochasticDepth(0.5)
    x = distribute_tensor(torch.ones(64, 3), one_process_group, [Shard(0)])
    with pytest.raises(TypeError, match=r"stochastic_depth: x must not be a DTensor\..*local_map"):
        layer(x)
    y = local_map(layer, list(x.placements))(x)
    assert y.to_local().unique().tolist() == [0, 2]
    assert layer.eval()(x) is x


@pytest.mark.parametrize(  # RSAB holds every layer; a network takes half a minute
    "row",
    [
        pytest.param(row, id=row.name, marks=() if row.name == "RSAB" else pytest.mark.slow)
        for row in ROWS
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
def test_inductor(row):
    torch._dynamo.reset()
    layer = made(row)
    compiled = torch.compile(layer, fullgraph=True)
    found = []
    for run in (compiled, layer):
        x = row.image().requires_grad_()
        y = seeded(run, x)
        y.square().sum().backward()
        found.append((y, x.grad))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
    assert varies(lambda: compiled(row.image())) == is_random(layer)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
def test_inductor_trains_with_sizes_that_change():
    torch._dynamo.reset()
    layer = CBAM(3)
    compiled = torch.compile(layer, dynamic=True)
    for batch, *size in ((2, 9, 11), (3, 20, 7)):
        found = []
        for run in (compiled, layer):
            x = image(batch, 3, *size).requires_grad_()
            y = run(x)
            y.square().sum().backward()
            found.append((y, x.grad))
        torch.testing.assert_close(*found)


@pytest.mark.slow
@every_row
@pytest.mark.filterwarnings("ignore")
def test_quantisation_of_an_exported_program_by_torchao(row):
    pt2e = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    x86 = pytest.importorskip("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    layer = made(row, training=False)
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    program = torch.export.export(layer, (row.image(),)).module()
    prepared = pt2e.prepare_pt2e(program, quantizer)
    prepared(row.image())
    converted = pt2e.convert_pt2e(prepared)
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear  # what this quantiser surely takes
    if any(isinstance(m, kinds) for m in layer.modules()):
        assert "quantize_per_tensor" in converted.code
    expected = layer(row.image())
    assert (converted(row.image()) - expected).abs().max() < 0.2 * expected.abs().max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_torch_jit_records_one_operator():  # what counters of operations build on
    traced = torch.jit.trace(DropBlock2d(0.3, 3), image(), check_trace=False)
    assert "torchattn_blocks::drop_block" in str(traced.graph)
    assert not torch.equal(traced(image()), traced(image()))
