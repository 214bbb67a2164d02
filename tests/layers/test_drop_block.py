"""DropBlock's own promises in running; those of every layer are in test_contract.py."""

import math

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from torchattn_blocks import DropBlock, DropBlock1d, DropBlock2d, DropBlock3d
from torchattn_blocks.functional import drop_block1d, drop_block2d, drop_block3d
from torchattn_blocks.layers._drop_block_op import drop_block_operator

SCALES = ("constant", "batch", "position", "none")
every_scale = pytest.mark.parametrize("scale", SCALES)
in_place_too = pytest.mark.parametrize("inplace", [False, True], ids=["new", "inplace"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@every_scale
@in_place_too
@given(
    shape=st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 40)] * 2),
    block_size=st.one_of(st.integers(1, 45), st.tuples(st.integers(1, 45), st.integers(1, 45))),
    p=st.floats(0, 1).filter(lambda p: p in (0, 1) or 1e-6 < p < 0.6),
    gamma=st.sampled_from(["exact", "paper"]),
    channelwise=st.booleans(),
)
@settings(max_examples=40)
def test_any_shape_keeps_it(scale, inplace, shape, block_size, p, gamma, channelwise):
    x = torch.randn(shape, generator=seeded())
    options = {"gamma": gamma, "scale": scale, "channelwise": channelwise, "inplace": inplace}
    if scale == "position":
        p = min(p, 0.1)
    y = drop_block2d(x.clone(), p, block_size, **options)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    kept = y != 0
    assert (y[kept].sign() == x[kept].sign()).all()


@every_scale
@in_place_too
@pytest.mark.parametrize("channelwise", [True, False])
def test_one_and_three_axes_are_two_with_an_axis_of_one(scale, inplace, channelwise):
    options = {"scale": scale, "channelwise": channelwise, "inplace": inplace}

    def dropped(drop, x, block_size):
        return drop(x.clone(), 0.2, block_size, **options, generator=seeded(1))

    x = torch.randn(2, 4, 8, 30)
    sequence = dropped(drop_block1d, x[:, :, 0], 5)
    assert torch.equal(sequence, dropped(drop_block2d, x[:, :, :1], (1, 5))[:, :, 0])
    assert 0 < (sequence == 0).sum() < sequence.numel()
    volume = dropped(drop_block3d, x[:, :, None], (1, 3, 5))
    assert torch.equal(volume[:, :, 0], dropped(drop_block2d, x, (3, 5)))


@pytest.mark.parametrize(
    ("drop", "block", "size"),
    [(drop_block1d, 3, (30,)), (drop_block2d, (2, 3), (8, 9)), (drop_block3d, 2, (4, 5, 6))],
)
@pytest.mark.parametrize("channelwise", [True, False])
def test_an_input_without_a_batch_is_a_batch_of_one(drop, block, size, channelwise):
    x = torch.randn(5, *size)
    for scale in SCALES:
        options = {"scale": scale, "channelwise": channelwise}
        alone = drop(x, 0.3, block, **options, generator=seeded(1))
        assert torch.equal(alone[None], drop(x[None], 0.3, block, **options, generator=seeded(1)))
        assert (alone == 0).any()


def test_blocks_have_a_depth():
    y = drop_block3d(torch.ones(1, 2, 6, 7, 8), 0.5, (6, 1, 2))
    assert ((y == 0).all(2) | (y != 0).all(2)).all()  # whole columns in depth
    assert 0 < (y == 0).sum() < y.numel()
    assert not ((y == 0).all(3) | (y != 0).all(3)).all()


def test_scale_none_leaves_what_is_kept_as_it_was():
    x = torch.randn(2, 3, 20, 20)
    y = drop_block2d(x, 0.3, 5, scale="none")
    assert torch.equal(y, x * (y != 0))
    assert (y == 0).any()


@in_place_too
def test_an_expanded_input_is_not_painted_through(inplace):
    x = torch.ones(1, 1, 9, 9).expand(2, 3, 9, 9)
    if inplace:
        with pytest.raises(RuntimeError, match="single memory location"):
            drop_block2d(x, 0.3, 3, scale="none", inplace=True)
    else:
        drop_block2d(x, 0.3, 3, scale="none")
    assert x.all()


def test_p_0_is_the_input_and_p_1_is_zero():
    x = torch.randn(2, 3, 9, 9)
    assert drop_block2d(x, 0.0, 3) is x
    for scale in SCALES:
        assert drop_block2d(x, 1.0, 3, scale=scale).count_nonzero() == 0


def test_evaluation_is_the_input():
    x = torch.randn(2, 3, 9, 9)
    assert DropBlock2d(0.5).eval()(x) is x
    assert drop_block2d(x, 0.5, 7, training=False) is x


def test_position_refuses_what_would_overflow():
    with pytest.raises(ValueError, match=r'scale="position".*p=0\.9999, .*\(7, 7\).*\(40, 40\)'):
        drop_block2d(torch.ones(1, 1, 40, 40), 0.9999, 7, scale="position")


def test_gradient_of_another_memory_format_meets_the_same_mask():
    x = torch.randn(2, 6, 12, 10, requires_grad=True)
    y = drop_block2d(x, 0.4, 3)
    y.backward(torch.ones_like(y).contiguous(memory_format=torch.channels_last))
    assert torch.equal(x.grad != 0, y != 0)


def test_inplace_writes_into_the_input():
    x = torch.ones(2, 3, 9, 9)
    expected = drop_block2d(x, 0.5, 3, generator=seeded(1))
    y = drop_block2d(x, 0.5, 3, inplace=True, generator=seeded(1))
    assert y.data_ptr() == x.data_ptr()
    assert torch.equal(y, expected)


def test_what_is_dropped_is_zero_even_where_the_input_is_not_finite():
    y = drop_block2d(torch.full((1, 4, 20, 20), torch.inf), 0.5, 3)
    assert set(y.unique().tolist()) == {0.0, torch.inf}


@every_scale
@pytest.mark.parametrize("gamma", ["exact", "paper"])
@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("shape", "p", "block_size"),
    [((1, 8, 7, 7), 0.15, 7), ((2, 4, 8, 8), 0.3, 3), ((1, 3, 9, 5), 0.7, 1), ((8, 7, 7), 0.4, 2)],
)
def test_a_small_mask_is_kept_and_does_what_painting_twice_does(
    shape, p, block_size, dtype, channelwise, gamma, scale
):
    options = {"scale": scale, "gamma": gamma, "channelwise": channelwise}
    x = torch.randn(shape, generator=seeded()).to(dtype)
    if x.dim() == 4 and block_size != 7:
        x = x.contiguous(memory_format=torch.channels_last)
    for seed in range(5):
        painted = drop_block2d(x, p, block_size, generator=seeded(seed), **options)
        leaf = x.clone().requires_grad_()
        y = drop_block2d(leaf, p, block_size, generator=seeded(seed), **options)
        assert torch.equal(y, painted)
        assert y.stride() == painted.stride()
        assert y.grad_fn.name() == "MaskedFillBackward0"
        grad = torch.randn(shape, generator=seeded(9)).to(dtype)
        expected = drop_block2d(grad, p, block_size, generator=seeded(seed), **options)
        assert torch.equal(*torch.autograd.grad(y, leaf, grad), expected)


@pytest.mark.parametrize("size", [(7, 7), (20, 20)], ids=["kept", "painted twice"])
def test_the_gradient_of_what_is_dropped_is_zero_even_where_it_is_not_finite(size):
    x = torch.ones(1, 8, *size, requires_grad=True)
    y = drop_block2d(x, 0.4, 3, scale="none", generator=seeded(2))
    (grad,) = torch.autograd.grad(y, x, torch.full_like(x, torch.inf))
    assert torch.equal(grad == 0, y == 0)
    assert set(grad.unique().tolist()) == {0.0, torch.inf}


@every_scale
@pytest.mark.parametrize("shape", [(0, 2, 8, 6), (2, 0, 8, 6)], ids=str)
def test_nothing_is_dropped_of_nothing(shape, scale):
    x = torch.randn(shape, requires_grad=True)
    assert drop_block2d(x, 0.999, 3, scale=scale).shape == shape


@pytest.mark.parametrize(("width", "keeps"), [(512, 512), (513, 8)])
def test_what_a_mask_keeps_above_512_elements_is_its_seed(width, keeps):
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        drop_block1d(torch.ones(1, 1, width, requires_grad=True), 0.2, 3)
    assert sum(t.untyped_storage().nbytes() for t in held) == keeps


@every_scale
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtypes(scale, dtype):
    x = torch.randn(2, 3, 30, 30, generator=seeded())
    y = drop_block2d(x, 0.1, 5, scale=scale, generator=seeded(1))
    z = drop_block2d(x.to(dtype), 0.1, 5, scale=scale, generator=seeded(1))
    assert z.dtype == dtype
    torch.testing.assert_close(z.float(), y, rtol=2 * torch.finfo(dtype).eps + 1e-6, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize("size", [(7, 7), (7, 64), (64, 7)], ids=str)
@every_scale
def test_rates_that_hit_most_blocks_of_whole_axes(dtype, channelwise, size, scale):
    """Where blocks are drawn densely and span an axis, the mask is smaller than the map."""
    p, x = 0.77, torch.ones(8, 16, *size, dtype=dtype)
    y = drop_block2d(x, p, 7, scale=scale, channelwise=channelwise, generator=seeded(1))
    same = drop_block2d(x.float(), p, 7, scale="none", channelwise=channelwise, generator=seeded(1))
    assert torch.equal(y != 0, same != 0)
    assert 0 < (y == 0).sum() < y.numel()


def test_inplace_where_the_negative_bit_is_set():
    z = torch.randn(1, 4, 40, 40, dtype=torch.complex64).conj().imag
    assert z.is_neg()
    expected = drop_block2d(z.clone(), 0.3, 3, generator=seeded(3))
    assert torch.equal(drop_block2d(z, 0.3, 3, inplace=True, generator=seeded(3)), expected)
    assert torch.equal(z, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize(("p", "block_size"), [(0.3, 3), (0.7, 1)], ids=["sparse", "dense"])
def test_half_precision_rounds_the_output_and_not_the_factor(dtype, channelwise, p, block_size):
    x = torch.randn(2, 3, 30, 30, generator=seeded()).to(dtype)
    y = drop_block2d(x, p, block_size, channelwise=channelwise)
    expected = (x.float() * (1 / (1 - p))).to(dtype)
    assert torch.equal(y, expected.where(y != 0, 0))
    assert 0 < (y == 0).sum() < y.numel()


@every_scale
def test_memory_format_is_kept(scale):
    x = torch.randn(2, 4, 9, 8)
    for given_x in (
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3),
        x.permute(3, 0, 1, 2),
        x[:, ::2, 1:, ::3],
        x[:1].expand(3, 4, 9, 8),
    ):
        y = drop_block2d(given_x, 0.2, 2, scale=scale)
        assert y.stride() == torch.empty_like(given_x).stride()


def test_manual_seed_fixes_the_mask():
    layer, x = DropBlock2d(0.5, 3), torch.ones(1, 8, 20, 20)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_holds_a_number_for_backward_and_no_mask():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        drop_block2d(torch.ones(2, 4, 50, 50, requires_grad=True), 0.2, 5, scale="position")
    assert sum(t.untyped_storage().nbytes() for t in saved) == 8


def test_a_rate_changed_before_backward_does_not_change_its_mask():
    layer, x = DropBlock2d(0.3, 3), torch.ones(1, 4, 20, 20, requires_grad=True)
    y = layer(x)
    layer.p = 0.9
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_rate_is_a_float_that_no_conversion_rounds_and_no_state_dict_holds():
    layer = DropBlock2d(0.15).to(torch.bfloat16).half()
    assert layer.p == 0.15
    assert not layer.state_dict()
    with torch.device("meta"):
        assert DropBlock2d(0.15).p == 0.15


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # the check itself, torch 2.14
@every_scale
@pytest.mark.parametrize("channelwise", [True, False])
def test_operator_passes_torchs_own_check(scale, channelwise):
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    seed, p = torch.tensor(5), torch.tensor(0.3, dtype=torch.float64)
    torch.library.opcheck(drop_block_operator, (x, seed, p, (2, 3), "exact", scale, channelwise))


@in_place_too
def test_compiles_whole_and_not_again_for_a_new_rate(inplace):
    layer = DropBlock2d(0.3, 3, inplace=inplace)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(lambda x: layer(x * 1.0), backend=counter, fullgraph=True)
    x = torch.ones(1, 4, 30, 30, requires_grad=True)
    compiled(x)
    assert counter.frame_count == 1
    for p in (0.3, 0.1, 0.0, 1.0):
        layer.p = p
        y = compiled(x)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(grad, y.detach())
        assert (y == 0).float().mean() == pytest.approx(p, abs=0.15 * (0 < p < 1))
    assert counter.frame_count == 1
    layer.eval()
    assert torch.equal(compiled(x), x)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError, {"p": -0.1}, r"p must lie in \[0, 1\], got -0.1"),
        (ValueError, {"p": 1.5}, r"p must lie in \[0, 1\], got 1.5"),
        (ValueError, {"p": math.nan}, r"p must lie in \[0, 1\], got nan"),
        (TypeError, {"p": "0.1"}, "p must be a number or a 0-d floating-point tensor, got '0.1'"),
        (TypeError, {"p": True}, "p must be a number or a 0-d floating-point tensor, got True"),
        (ValueError, {"block_size": 0}, "block_size must be at least 1, got 0"),
        (ValueError, {"block_size": (3, -1)}, "block_size must be at least 1, got -1"),
        (ValueError, {"block_size": (3, 3, 3)}, "block_size must be one number or 2"),
        (TypeError, {"block_size": 3.0}, "block_size must be an int, got 3.0"),
        (TypeError, {"block_size": True}, "block_size must be an int, got True"),
        (TypeError, {"block_size": "ab"}, "block_size must be an int, got 'ab'"),
        (ValueError, {"gamma": "papers"}, r"gamma must be one of \('exact', 'paper'\)"),
        (ValueError, {"scale": None}, "scale must be one of"),
        (ValueError, {"scale": ["batch"]}, r"scale must be one of .*, got \['batch'\]"),
        (ValueError, {"gamma": np.array(["paper", "exact"])}, "gamma must be one of .*, got array"),
    ],
)
def test_bad_arguments(error, arguments, message):
    with pytest.raises(error, match=f"DropBlock2d: {message}"):
        DropBlock2d(**arguments)
    with pytest.raises(error, match=f"drop_block2d: {message}"):
        drop_block2d(torch.ones(1, 1, 4, 4), **arguments)


def test_the_base_is_for_isinstance_alone():
    assert all(isinstance(kind(), DropBlock) for kind in (DropBlock1d, DropBlock2d, DropBlock3d))
    with pytest.raises(TypeError, match=r"^DropBlock: call DropBlock1d, DropBlock2d or"):
        DropBlock(0.1)


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ValueError, torch.ones(1, 1, 1, 4, 4), "4 dimensions"),
        (ValueError, torch.ones(4, 4), r"4 .* \(N, C, H, W\) or 3 \(C, H, W\), got \(4, 4\)"),
        (
            TypeError,
            torch.ones(1, 1, 4, 4, dtype=torch.int64),
            "tensor, got torch.int64",
        ),
        (TypeError, np.ones((1, 1, 4, 4)), "floating-point tensor, got ndarray"),
    ],
)
def test_bad_inputs(error, x, message):
    with pytest.raises(error, match=message):
        DropBlock2d()(x)
    assert DropBlock2d().eval()(x) is x  # as torch's dropouts: a quantised tensor passes, say


@pytest.mark.parametrize("p", [-0.5, 1.5, math.nan])
def test_rate_tensors_out_of_bounds(p):
    with pytest.raises(ValueError, match=r"drop_block2d: p must lie in \[0, 1\]"):
        drop_block2d(torch.ones(1, 1, 4, 4), torch.tensor(p))


@pytest.mark.parametrize("p", [torch.tensor([0.1]), torch.tensor(1)])
def test_bad_rate_tensors(p):
    with pytest.raises(TypeError, match="0-d floating-point tensor"):
        drop_block2d(torch.ones(1, 1, 4, 4), p)


@pytest.mark.parametrize(
    ("make", "axes"), [(DropBlock1d, 1), (DropBlock2d, 2), (DropBlock3d, 3)], ids=str
)
def test_block_size_is_one_number_or_one_for_each_axis(make, axes):
    assert make(block_size=5).block_size == (5,) * axes
    assert make(block_size=[*range(1, axes + 1)]).block_size == tuple(range(1, axes + 1))
    expected = f"one number or {axes}" if axes > 1 else "one number"
    with pytest.raises(ValueError, match=f"DropBlock{axes}d: block_size must be {expected}, got"):
        make(block_size=(3,) * (axes + 1))


@in_place_too
def test_module_hands_all_its_arguments_on(inplace):
    options = {"gamma": "paper", "scale": "batch", "channelwise": False, "inplace": inplace}
    x = torch.ones(2, 5, 20, 20)
    torch.manual_seed(1)
    expected = drop_block2d(x.clone(), 0.3, (2, 5), **options)
    torch.manual_seed(1)
    y = DropBlock2d(0.3, (2, 5), **options)(x)
    assert torch.equal(y, expected)
    assert (y.data_ptr() == x.data_ptr()) == inplace


def test_inplace_on_a_part_is_seen_by_the_whole():
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    y = x * 1
    drop_block2d(y[:, :2], 0.3, 3, inplace=True)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad[:, :2] != 0, y[:, :2] != 0)
    assert (y[:, :2] == 0).any()
    assert torch.equal(y[:, 2:], x[:, 2:])


def test_inplace_the_input_itself_has_the_gradient():
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    h = x * 1
    assert drop_block2d(h, 0.3, 3, inplace=True) is h
    (grad,) = torch.autograd.grad(h.sum(), x)  # what uses h, and not the output
    assert torch.equal(grad != 0, h != 0)
    assert (grad == 0).any()


def test_inplace_is_noticed_by_autograd():
    y = torch.randn(1, 1, 9, 9, requires_grad=True).sigmoid()  # its backward needs its output
    drop_block2d(y, 0.5, 3, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda x: x, "leaf Variable"),
        (lambda x: x[:], "leaf Variable"),
        (lambda x: (x * 1).unbind(0)[0], "multiple views"),
        (lambda x: (x * 1).chunk(1)[0], "multiple views"),
    ],
    ids=["leaf", "view", "unbind", "chunk"],
)
def test_inplace_refuses_what_torch_refuses_and_leaves_it_as_it_was(of, message):
    x = torch.ones(1, 1, 9, 9, requires_grad=True)
    part = of(x)
    before = part.detach()
    with pytest.raises(RuntimeError, match=message):
        drop_block2d(part, 0.5, 3, inplace=True)
    assert torch.equal(before, torch.ones_like(before))
    with torch.no_grad():
        assert torch.equal(drop_block2d(x, 0.5, 3, inplace=True), x)
