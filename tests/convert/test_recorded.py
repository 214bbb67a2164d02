"""Layers of other libraries, converted, give the outputs that `record_cases.py` recorded."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from peer_layers import CASES, AuthorsCBAM, Case, filled, output_and_gradient, parameters
from safetensors.torch import load_file
from torch import nn

from torchattn_blocks import convert
from torchattn_blocks.convert import (
    from_cbam_authors,
    from_monai_se,
    from_smp_scse,
    from_spatial_attention,
    from_timm_cbam,
    from_timm_eca,
    from_timm_global_context,
    from_timm_se,
    from_torchvision_se,
)

FILE = Path(__file__).with_name("cases.safetensors")
RECORDED = load_file(FILE)
OTHERS = [case for case in CASES if case.library != "torch"]
every_case = pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)


def recorded(case: Case) -> tuple[dict, dict]:
    """The state dict of a case, and all else that is recorded."""
    start = f"{case.name}/"
    values = {key.removeprefix(start): x for key, x in RECORDED.items() if key.startswith(start)}
    state = {key.removeprefix("state/"): x for key, x in values.items() if "state/" in key}
    return state, values


def state_of(name: str) -> dict:
    return recorded(next(case for case in CASES if case.name == name))[0]


def test_every_function_and_case_is_recorded():
    tested = {case.function for case in CASES}
    assert tested == set(convert.__all__) - {"from_keras"}  # of whole networks: test_keras.py
    assert {key.split("/")[0] for key in RECORDED} == {case.name for case in OTHERS}
    assert FILE.stat().st_size < 200_000


@every_case
def test_outputs_gradients_and_counts_are_equal(case):
    state, values = recorded(case)
    layer = case.convert(state).eval()
    y, gradient = output_and_gradient(layer, values["x"])
    torch.testing.assert_close(y, values["y"])
    torch.testing.assert_close(gradient, values["gradient"])
    assert parameters(layer) == values["parameters"]


@every_case
def test_a_prefix_picks_the_layer(case):
    state, values = recorded(case)
    other = dict.fromkeys(("conv.weight", "a.bn.weight", "a.b.d.weight"), torch.zeros(1, 2, 2, 2))
    model = {**{f"a.b.c.{key}": value for key, value in state.items()}, **other}
    layer = case.convert(model, prefix="a.b.c.").eval()
    torch.testing.assert_close(layer(values["x"]), values["y"])


@every_case
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_gives_the_same(case, copied):
    state, values = recorded(case)
    layer = case.convert(state).eval()
    assert torch.equal(copied(layer)(values["x"]), layer(values["x"]))


@every_case
def test_weights_are_copies_in_their_dtype_and_on_their_device(case):
    state, _ = recorded(case)
    state = {
        key: nn.Parameter(x.double()) if x.is_floating_point() else x for key, x in state.items()
    }
    before = {key: x.clone() for key, x in state.items()}
    random_state = torch.get_rng_state()
    layer = case.convert(state)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert layer.training
    for weight in layer.parameters():
        assert (weight.dtype, weight.device.type) == (torch.float64, "cpu")
        assert weight.requires_grad
        assert weight.is_leaf
        assert weight.is_contiguous()
    assert not any(buffer.is_meta or buffer.requires_grad for buffer in layer.buffers())
    with torch.no_grad():
        for value in layer.state_dict().values():
            value.fill_(7)
    assert all(torch.equal(state[key], before[key]) for key in state)

    on_meta = case.convert({key: x.to("meta") for key, x in state.items()})
    assert all(weight.is_meta for weight in on_meta.parameters())


@every_case
def test_a_key_too_few_or_too_many_is_named(case):
    state, _ = recorded(case)
    needed = [key for key in state if not key.endswith("num_batches_tracked")]
    for key in needed:
        fewer = {f"m.{k}": x for k, x in state.items() if k != key}
        with pytest.raises(ValueError, match=rf"^{case.function}: ") as error:
            case.convert(fewer, prefix="m.")
        assert key in str(error.value) or case.function == "from_spatial_attention"
    with pytest.raises(ValueError, match=rf"^{case.function}: the key 'm.surplus' is not expected"):
        case.convert({f"m.{k}": x for k, x in {**state, "surplus": needed}.items()}, prefix="m.")


@every_case
def test_a_wrong_shape_is_named(case):
    state, _ = recorded(case)
    for key, x in state.items():
        longer = (torch.cat([x, x.narrow(axis, 0, 1)], axis) for axis in range(x.dim()))
        for wrong in (x[..., None], *longer):
            if wrong.shape == x.shape or (
                case.function == "from_spatial_attention" and x.dim() == 4
            ):
                continue
            with pytest.raises(
                ValueError, match=rf"^{case.function}: '.*' must have shape \(.*got"
            ):
                case.convert({**state, key: wrong})


@every_case
def test_what_is_no_state_dict_is_refused(case):
    state, _ = recorded(case)
    for wrong in (nn.Linear(1, 1), list(state.items()), None):
        with pytest.raises(TypeError, match=rf"^{case.function}: .*pass \.state_dict\(\)"):
            case.convert(wrong)
    with pytest.raises(TypeError, match=rf"^{case.function}: prefix must be a str"):
        case.convert(state, prefix=None)
    key = next(iter(state))
    if case.function != "from_spatial_attention":
        with pytest.raises(
            TypeError, match=rf"^{case.function}: state\['{key}'\] must be a Tensor"
        ):
            case.convert({**state, key: np.zeros(1)})


@pytest.mark.parametrize("prefix", ["", "b.", "a.0", "a.0.fc1.", "c.1"])
def test_a_wrong_prefix_gets_those_that_fit(prefix):
    state = state_of("torchvision SqueezeExcitation")
    model = {f"{at}{key}": x for at in ("a.0.", "c.1.") for key, x in state.items()}
    model["b.fc1.weight"] = torch.zeros(1)
    first, second = ("c.1.", "a.0.") if prefix == "c.1" else ("a.0.", "c.1.")
    expected = f"Prefixes that have all keys: '{first}', '{second}'"
    with pytest.raises(ValueError, match=expected):
        from_torchvision_se({k: x for k, x in model.items() if k != "b.fc1.weight"}, prefix=prefix)
    with pytest.raises(ValueError, match="is missing") as error:
        from_torchvision_se({"fc1.weight": model["a.0.fc1.weight"]})
    assert "refixes" not in str(error.value)


def test_many_prefixes_are_cut():
    state = state_of("segmentation_models.pytorch SCSEModule")
    model = {f"{at}.{key}": x for at in range(6) for key, x in state.items()}
    with pytest.raises(ValueError, match=r"'0\.', '1\.', '2\.', '3\.' and 2 more$"):
        from_smp_scse(model)


def test_kernels_elsewhere_are_named():
    model = {"a.conv.weight": torch.zeros(1, 2, 3, 3), "b.conv.weight": torch.zeros(1, 2, 3, 3)}
    for prefix, number in (("", 2), ("c.", 0)):
        with pytest.raises(ValueError, match=f"got {number}; .* 'a.conv.weight', 'b.conv.weight'"):
            from_spatial_attention(model, mean_first=True, prefix=prefix)
    with pytest.raises(ValueError, match="got 0; in the whole state: none"):
        from_spatial_attention({}, mean_first=True)
    with pytest.raises(TypeError, match="mean_first must be a bool, got NoneType"):
        from_spatial_attention(model, mean_first=None, prefix="a.")


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 2, 3, 5), (1, 2, 2), (1, 2, 3, 3, 5)])
def test_a_kernel_is_odd_and_square(shape):
    with pytest.raises(ValueError, match=r"'weight' must have shape \(1, 2, k.*\) with k odd, got"):
        from_spatial_attention({"weight": torch.zeros(shape)}, mean_first=False)


def test_a_lone_convolution_is_a_spatial_attention():
    conv = nn.Conv2d(2, 1, 3)
    layer = from_spatial_attention(conv.state_dict(), mean_first=False)
    assert torch.equal(layer.conv.weight, conv.weight)
    assert torch.equal(layer.conv.bias, conv.bias)
    swapped = from_spatial_attention(conv.state_dict(), mean_first=True)
    assert torch.equal(swapped.conv.weight, conv.weight[:, [1, 0]])


def test_two_normalisations_are_too_many():
    state = state_of("timm SpatialAttn")
    state |= {key.replace("bn", "more"): x for key, x in state.items() if "bn" in key}
    with pytest.raises(ValueError, match=r"'conv\.more\..*' is not expected"):
        from_spatial_attention(state, mean_first=True)


@pytest.mark.parametrize("function", [from_timm_cbam, from_cbam_authors])
def test_files_without_the_counter_of_batches_are_read(function):
    case = next(case for case in CASES if case.function == function.__name__)
    state = state_of(case.name) or filled(case).state_dict()
    old = {key: x for key, x in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 1
    assert function(old).spatial.norm.num_batches_tracked == 0


def test_timms_variants_are_refused():
    state = {f"a.{key}": x for key, x in state_of("timm SEModule").items()}
    with pytest.raises(ValueError, match=r"^from_timm_se: the key 'a\.bn\.bias' .* normalises"):
        from_timm_se({**state, "a.bn.bias": torch.zeros(4)}, prefix="a.")
    kernel = {"conv.weight": torch.zeros(1, 1, 3), "conv.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"^from_timm_eca: the key 'conv\.bias' .* has a bias"):
        from_timm_eca(kernel, 8)
    with pytest.raises(ValueError, match=r"^from_timm_eca: the key 'conv2\.bias' .* two conv"):
        from_timm_eca({"conv2.bias": torch.zeros(1), **kernel}, 8)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        from_timm_eca({"conv.weight": kernel["conv.weight"]}, 0)


def test_variants_of_timms_global_context_are_refused():
    both = {
        **state_of("timm GlobalContext, scale"),
        **state_of("timm GlobalContext, add"),
    }
    with pytest.raises(
        ValueError, match=r"'mlp_scale\.fc1\..*' is not expected: .* adds and multi"
    ):
        from_timm_global_context(both)
    without = {key: x for key, x in both.items() if key.startswith("mlp_add")}
    with pytest.raises(ValueError, match=r"the key 'conv_attn\.weight' is missing"):
        from_timm_global_context(without)


def test_a_block_is_not_taken_for_a_variant():
    block = {"conv1.weight": 0, "conv2.weight": 0, "se.conv.weight": torch.zeros(1, 1, 3)}
    with pytest.raises(ValueError, match=r"'conv\.weight' is missing; .* all keys: 'se\.'$"):
        from_timm_eca(block, 8)


@pytest.mark.parametrize("name", ["timm SEModule", "timm EfficientNet SqueezeExcite"])
def test_both_layers_of_timm_are_found_in_a_model(name):
    model = {f"a.se.{key}": x for key, x in state_of(name).items()}
    with pytest.raises(ValueError, match=r"all keys: 'a\.se\.'$"):
        from_timm_se(model, prefix="b.")


def test_squeeze_and_excitation_without_biases_is_read():
    theirs = nn.Sequential(
        nn.Linear(8, 2, bias=False), nn.ReLU(), nn.Linear(2, 8, bias=False), nn.Sigmoid()
    )
    x = torch.randn(2, 8, 5, 6)
    ours = from_monai_se({f"fc.{key}": value for key, value in theirs.state_dict().items()})
    torch.testing.assert_close(ours(x), x * theirs(x.mean((2, 3)))[..., None, None])
    state = state_of("MONAI ChannelSELayer, 2d")
    del state["fc.2.bias"]
    with pytest.raises(ValueError, match=r"the key 'fc\.2\.bias' is missing"):
        from_monai_se(state)


def test_residual_must_be_a_bool():
    with pytest.raises(TypeError, match="residual must be a bool"):
        from_monai_se(state_of("MONAI ChannelSELayer, 2d"), residual=1)


def test_the_authors_layer_trains_alike():
    torch.manual_seed(0)
    theirs, x = AuthorsCBAM(8, 2), torch.randn(2, 8, 5, 6)
    ours = from_cbam_authors(theirs.state_dict())
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    for key, value in theirs.SpatialGate.spatial.bn.state_dict().items():
        torch.testing.assert_close(ours.spatial.norm.state_dict()[key], value)
