"""monte_carlo: which modules are random inside, and what is left behind. mean_and_std: its sums."""

import gc
import inspect
import weakref

import pytest
import torch
import torch._dynamo.testing
import torch.distributed as dist
from torch import nn

from torchattn_blocks import DropBlock2d, mean_and_std, monte_carlo, report, rsan


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.RReLU(), DropBlock2d(0.3, 3)
    )


def modes(net):
    return [module.training for module in net.modules()]


IMAGE = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
ONLY_DROPOUT = [False, False, False, True, False, True]  # the container first


@pytest.mark.parametrize("training", [True, False])
def test_only_dropout_is_in_training_inside(training):
    net = model().train(training)
    with monte_carlo(net) as given:
        assert given is None
        assert modes(net) == ONLY_DROPOUT
    assert modes(net) == [training] * 6


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(),
        nn.Dropout1d(),
        nn.Dropout2d(),
        nn.Dropout3d(),
        nn.AlphaDropout(),
        nn.FeatureAlphaDropout(),
        DropBlock2d(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_each_dropout_layer_is_found_also_as_the_model_itself(layer):
    layer.eval()
    with monte_carlo(layer):
        assert layer.training
    assert not layer.training


def test_mixed_modes_come_back_also_after_an_error():
    net = model()
    net[1].eval()
    net[4].eval()
    net.training = False
    before = modes(net)
    assert before == [False, True, False, True, True, False]
    with pytest.raises(ZeroDivisionError), monte_carlo(net):
        raise ZeroDivisionError
    assert modes(net) == before


def test_random_inside_and_not_outside():
    net = model().eval()
    expected = net(IMAGE)
    with monte_carlo(net):
        assert not torch.equal(net(IMAGE), net(IMAGE))
    assert torch.equal(net(IMAGE), expected)


def test_the_seed_decides_and_gradients_flow():
    net = rsan(widths=(4, 8)).eval()
    image = torch.rand(1, 3, 20, 20)
    with monte_carlo(net):
        torch.manual_seed(1)
        one = net(image)
        torch.manual_seed(1)
        assert torch.equal(net(image), one)
        one.sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_batch_normalisation_uses_its_running_statistics_and_keeps_them():
    net = model().train()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    torch.manual_seed(0)
    with monte_carlo(net):
        inside = net(IMAGE)
        alone = torch.cat([net[:2](image[None]) for image in IMAGE])
        torch.testing.assert_close(net[:2](IMAGE), alone)  # no statistics of the batch
    assert inside.shape == (2, 4, 10, 10)
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())


def test_blocks_are_nested_and_the_inner_one_decides():
    net = model()
    with monte_carlo(net, where=[None, nn.RReLU]):
        outer = modes(net)
        assert outer == [False, False, False, True, True, True]
        with monte_carlo(net):
            assert modes(net) == ONLY_DROPOUT
        assert modes(net) == outer
        with monte_carlo(net[2]):
            assert modes(net) == outer
    assert all(modes(net))


def test_where_picks_single_modules_by_name_and_by_type():
    net, seen = nn.Sequential(model(), model()).eval(), []

    def where(name, module):
        seen.append((name, module))
        return name in {"1", "0.3"}

    def inside(where):
        with monte_carlo(net, where=where):
            return [name for name, module in net.named_modules() if module.training]

    assert inside(where) == ["0.3", "1"]  # "1" itself, not its children
    assert seen == [*net.named_modules()]
    assert inside([None, where]) == ["0.2", "0.3", "0.4", "1", "1.2", "1.4"]
    assert inside("1.[2-3]") == ["1.2", "1.3"]
    assert inside(nn.Dropout) == ["0.2", "1.2"]
    assert not any(modes(net))


def test_where_sees_the_modes_from_before():
    net = model().eval()
    net[2].train()
    with monte_carlo(net, where=lambda name, module: module.training):
        assert modes(net) == [False, False, False, True, False, False]


class OwnDropout(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        (nn.Sequential(nn.RReLU()), nn.RReLU),
        (nn.Sequential(OwnDropout()), OwnDropout),
    ],
    ids=["RReLU", "functional"],
)
@torch.no_grad()
def test_what_the_docstring_says_is_found_by_where_alone(net, kind):
    net.eval()
    x = -torch.rand(2, 3, 8)
    assert torch.equal(net(x), net(x))
    with monte_carlo(nn.ModuleList([net, nn.Dropout()])):
        assert torch.equal(net(x), net(x))
    with monte_carlo(net, where=lambda name, module: isinstance(module, kind)):
        assert not torch.equal(net(x), net(x))
    assert torch.equal(net(x), net(x))


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)[0]


class Recurrent(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


ENCODER_LAYER = nn.TransformerEncoderLayer(8, 2, 8, 0.5, batch_first=True)


@pytest.mark.parametrize(
    "net",
    [
        SelfAttention(8, 2, 0.5, batch_first=True),
        Recurrent(8, 8, 2, dropout=0.5, batch_first=True),
        ENCODER_LAYER,
        nn.TransformerEncoder(ENCODER_LAYER, 2, enable_nested_tensor=False),
        nn.TransformerEncoder(ENCODER_LAYER, 2),
    ],
    ids=["attention", "LSTM", "encoder layer", "encoder", "encoder with nested tensors"],
)
@torch.no_grad()
def test_torchs_modules_that_drop_by_themselves_are_random(net):
    net.eval()
    x = torch.rand(2, 3, 8)
    assert torch.equal(net(x), net(x))
    with monte_carlo(net):
        assert not torch.equal(net(x), net(x))
    assert torch.equal(net(x), net(x))


class Frozen(nn.BatchNorm2d):
    """Batch normalisation that stays in evaluation; who calls `train` is told."""

    def __init__(self, channels):
        super().__init__(channels)
        self.training, self.calls = False, 0

    def train(self, mode=True):
        self.calls += 1
        return self


def test_train_is_not_called():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Frozen(4), nn.Dropout(), nn.BatchNorm2d(4))
    before = modes(net)
    assert before == [True, True, False, True, True]
    with monte_carlo(net):
        assert modes(net) == [False, False, False, True, False]
    assert modes(net) == before
    assert net[1].calls == 0


def test_modules_may_be_added_and_removed_inside():
    net = model().eval()
    net[4].train()
    removed = net[4]
    with monte_carlo(net):
        removed.eval()
        net[4] = nn.Identity().eval()
        net.append(nn.Dropout())
    assert modes(net) == [False] * 6 + [True]
    assert removed.training


def test_a_shared_layer_gets_its_mode_back():
    layer = nn.Dropout().eval()
    net = nn.Sequential(layer, nn.Sequential(layer))
    with monte_carlo(net):
        assert modes(net) == [False, True, False]
    assert modes(net) == [True, False, True]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("wrapped", [False, True])
@torch.no_grad()
def test_compiled_code_follows(backend, wrapped):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    net = model().eval()
    run = torch.compile(net, backend=counter, fullgraph=True)
    expected = net(IMAGE)
    for _ in range(3):
        torch.testing.assert_close(run(IMAGE), expected)
        with monte_carlo(run if wrapped else net):
            assert modes(net) == ONLY_DROPOUT
            assert not torch.equal(run(IMAGE), run(IMAGE))
    torch.testing.assert_close(run(IMAGE), expected)
    assert counter.frame_count == 2  # once for each mode
    assert not any(modes(run))


def test_distributed_data_parallel(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net = nn.parallel.DistributedDataParallel(model())
        before = net(IMAGE)
        with monte_carlo(net):
            assert modes(net) == [False, *ONLY_DROPOUT]
            assert not torch.equal(net(IMAGE), net(IMAGE))
        assert all(modes(net))
        assert net(IMAGE).shape == before.shape
    finally:
        dist.destroy_process_group()


def test_a_layer_of_rate_0_is_accepted_and_drops_nothing():
    net = nn.Sequential(DropBlock2d(0.0), nn.Dropout(0.0)).eval()
    with monte_carlo(net):
        assert torch.equal(net(IMAGE), IMAGE)
        net[1].p = 0.5
        assert not torch.equal(net(IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (TypeError, {"model": "rsan"}, "model must be a Module, got str"),
        (TypeError, {"model": rsan}, "model must be a Module, got function"),
        (TypeError, {"where": 3}, "where must be a type, a name pattern, a function of name and"),
        (ValueError, {"where": "decoder"}, "where must pick a module of Sequential, got 'decoder'"),
        (
            ValueError,
            {"where": "*"},
            r"where must pick no normalisation .* would change, got 1 \(BatchNorm2d\)",
        ),
        (
            ValueError,
            {"model": nn.Sequential(nn.RReLU())},
            "model must have a dropout layer, got Sequential, in which nothing would be random",
        ),
        (
            ValueError,
            {"model": nn.ReLU(), "where": lambda name, module: None},
            "where must pick a module of ReLU, got a function that is false for all",
        ),
    ],
)
def test_bad_arguments_change_nothing(error, arguments, message):
    net = model()
    arguments = {"model": net, **arguments}
    with pytest.raises(error, match=f"^monte_carlo: {message}"), monte_carlo(**arguments):
        raise AssertionError("the block must not run")
    assert all(modes(net))


def test_an_error_of_where_changes_nothing():
    net = model()
    with (
        pytest.raises(KeyError),
        monte_carlo(net, where=lambda name, module: {"": False}[name]),
    ):
        raise AssertionError("the block must not run")
    assert all(modes(net))


def replayed(draws):
    """A function that returns one of these tensors at each call."""
    rest = iter(draws)
    return lambda: next(rest)


@pytest.mark.parametrize("passes", [2, 3, 50])
@pytest.mark.parametrize("shift", [0.0, 100.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_to_torch(dtype, shift, passes):
    random = torch.Generator().manual_seed(passes)
    draws = (torch.randn(passes, 2, 3, 5, generator=random, dtype=torch.float64) + shift).to(dtype)
    mean, std = mean_and_std(replayed(draws), passes)
    expected_std, expected_mean = torch.std_mean(draws.double(), 0)
    assert mean.dtype == std.dtype == (dtype if dtype == torch.float64 else torch.float32)
    # float32 has 24 bits: one unit of 1e4 is 0.001. Deviations are about 1 whatever the shift.
    exact = 1e-12 if dtype == torch.float64 else 1e-6
    near = {"rtol": exact, "atol": exact * max(abs(shift), 1)}
    torch.testing.assert_close(mean.double(), expected_mean, **near)
    torch.testing.assert_close(std.double(), expected_std, **near)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_any_shape(shape):
    mean, std = mean_and_std(replayed([torch.ones(shape), torch.zeros(shape)]), 2)
    assert mean.shape == std.shape == shape
    torch.testing.assert_close(mean, torch.full(shape, 0.5))
    torch.testing.assert_close(std, torch.full(shape, 0.5**0.5))


def test_what_does_not_change_has_a_deviation_of_exactly_0():
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    mean, std = mean_and_std(lambda: x, 30)
    assert torch.equal(mean, x)
    assert torch.equal(std, torch.zeros(100))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_variance_of_dropout_is_the_known_one(p):
    # x is multiplied by 1 / (1 - p) with probability 1 - p, else by 0: variance p / (1 - p) x^2.
    x, passes = torch.linspace(-3, 3, 40), 4000
    net = nn.Sequential(nn.Dropout(p)).eval()
    torch.manual_seed(0)
    with monte_carlo(net):
        mean, std = mean_and_std(lambda: net(x), passes)
    variance = p / (1 - p) * x**2
    # Five standard errors. The mean's is sqrt(variance / passes). The variance is x^2 / (1 - p)^2
    # times f (1 - f), with f the fraction of passes that dropped. Where f is d from p, it is off by
    # d (1 - 2p) - d^2; d is five times sqrt(p (1 - p) / passes). passes - 1 adds 1 / passes.
    assert ((mean - x).abs() <= 5 * (variance / passes).sqrt()).all()
    relative = 5 * abs(1 - 2 * p) / (p * (1 - p) * passes) ** 0.5 + 26 / passes
    assert ((std**2 - variance).abs() <= relative * variance).all()


def test_a_call_in_place_of_a_with_statement_is_an_error():
    net = model()
    for function in (monte_carlo, report):
        message = rf"{function.__name__}: it must be used in a with statement, got a call: with "
        with pytest.raises(TypeError, match=message):
            function(net)(torch.ones(1))
        with pytest.raises(TypeError, match=message):
            function(net)(lambda x: x)
    assert inspect.signature(monte_carlo).parameters.keys() == {"model", "where"}


@pytest.mark.parametrize("inference", [False, True])
def test_no_graph_is_kept_and_tensors_of_inference_mode_are_taken(inference):
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())

    def draw():
        assert not torch.is_grad_enabled()
        with torch.inference_mode(inference):
            return net(torch.ones(2, 3))

    results = mean_and_std(draw, 3)
    assert torch.is_grad_enabled()
    assert not any(result.requires_grad or result.is_inference() for result in results)


def test_a_draw_that_records_gradients_is_detached():
    weight = torch.ones(3, requires_grad=True)

    @torch.enable_grad()
    def draw():
        return weight * torch.rand(3)

    assert not any(result.requires_grad for result in mean_and_std(draw, 3))


def test_a_draw_may_write_into_the_same_memory_each_time():
    x = torch.zeros(3)
    mean, std = mean_and_std(lambda: x.add_(1), 3)
    assert (mean.tolist(), std.tolist()) == ([2.0] * 3, [1.0] * 3)
    assert x.tolist() == [3.0] * 3


def test_memory_does_not_grow():
    drawn = []

    def draw():
        gc.collect()
        assert sum(reference() is not None for reference in drawn) <= 1
        x = torch.rand(5)
        drawn.append(weakref.ref(x))
        return x

    gc.freeze()  # what is there already need not be searched twelve times
    try:
        mean_and_std(draw, 12)
    finally:
        gc.unfreeze()
    assert len(drawn) == 12


@pytest.mark.parametrize(
    ("error", "draws", "passes", "message"),
    [
        (TypeError, None, 3, "draw must be a Callable, got Tensor"),
        (ValueError, [torch.ones(2)] * 3, 1, "passes must be at least 2, got 1"),
        (TypeError, [torch.ones(2)] * 3, 3.0, "passes must be an int, got 3.0"),
        (TypeError, [torch.ones(2)] * 3, True, "passes must be an int, got True"),
        (TypeError, [0.5] * 3, 3, "draw must return a floating-point tensor, got float"),
        (TypeError, [torch.ones(2), None], 3, ".* floating-point tensor, got NoneType"),
        (TypeError, [torch.ones(2).long()], 3, ".* floating-point tensor, got torch.int64"),
        (TypeError, [torch.ones(2) + 1j], 3, ".* floating-point tensor, got torch.complex64"),
        (
            ValueError,
            [torch.ones(2), torch.ones(2, 1)],
            3,
            r"draw must return .* one shape and dtype, got \(2,\) and torch.float32, then \(2, 1\)",
        ),
        (
            ValueError,
            [torch.ones(2), torch.ones(2).half()],
            3,
            r"draw must return .* and torch.float32, then \(2,\) and torch.float16",
        ),
    ],
)
def test_bad_draws(error, draws, passes, message):
    draw = torch.ones(2) if draws is None else replayed(draws)
    with pytest.raises(error, match=f"^mean_and_std: {message}"):
        mean_and_std(draw, passes)
