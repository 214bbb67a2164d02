"""Weights of the authors' Keras code: our networks give what the restated ones give."""

import re
import sys
from functools import partial

import h5py
import keras_restated
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from torchattn_blocks import CBAM, UNet, plain_stage, rsan, sa_unet, sd_unet
from torchattn_blocks.convert import from_keras

OURS = {"rsan": partial(rsan, up_kernel_size=3), "sd_unet": sd_unet, "sa_unet": sa_unet}
IMAGE = np.random.default_rng(1).random((24, 32, 3))
# Layers are counted from 1 by Keras 2, from 0 by tf.keras and Keras 3, and go on from model to
# model.
NAMES = {
    "Keras 2": {"first": 1, "ending": ":0"},
    "tf.keras": {"first": 0, "ending": ":0"},
    "Keras 3": {"first": 0, "ending": ""},
    "a second model": {"first": 25, "ending": ":0"},
}


def restated(name, **names):
    return getattr(keras_restated, name)(IMAGE, **names)


def ours_of(model):
    """Probabilities, (height, width, 1)."""
    dtype = model.head.weight.dtype
    x = torch.from_numpy(IMAGE).to(dtype).permute(2, 0, 1)[None]
    with torch.no_grad():
        return model.eval().predict_proba(x)[0].permute(1, 2, 0).numpy()


def parameters(arrays):
    return sum(x.size for name, x in arrays.items() if "moving" not in name)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("names", NAMES)
def test_equals_the_authors_graph(name, names):
    theirs, arrays = restated(name, **NAMES[names])
    model = OURS[name]()
    count = sum(w.numel() for w in model.parameters())
    assert count == parameters(arrays) == keras_restated.PARAMETERS[name]
    assert from_keras(model, dict(reversed(arrays.items()))) is model
    difference = np.abs(ours_of(model) - theirs).max()
    print(f"largest difference of probabilities: {difference:.1e}")  # for `pytest -s`
    assert difference < 1e-5
    exact = from_keras(OURS[name]().double(), arrays)
    assert np.abs(ours_of(exact) - theirs).max() < 1e-12
    assert theirs.std() > 0.02


def test_sa_unet_without_attention_is_the_authors_backbone():
    theirs, arrays = restated("sa_unet", attention=False)
    model = from_keras(sa_unet(attention=None).double(), arrays)
    assert np.abs(ours_of(model) - theirs).max() < 1e-12


def written(path, arrays, layout):
    """The arrays in a file as one of Keras' functions lays it out."""
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            layer, _, array = name.partition("/")
            file.create_dataset(layout.format(layer=layer, array=array), data=values)
        file.create_dataset("optimizer_weights/Adam/iterations:0", data=3)
    return path


@pytest.mark.parametrize(
    "layout",
    ["{layer}/{layer}/{array}", "model_weights/{layer}/{layer}/{array}", "{layer}/{array}"],
)
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_file(layout, kind, tmp_path):
    theirs, arrays = restated("sa_unet")
    path = written(tmp_path / "w.h5", arrays, layout)
    model = from_keras(sa_unet().double(), kind(path))
    assert np.abs(ours_of(model) - theirs).max() < 1e-12


def test_a_file_of_keras_3_numbers_the_arrays_of_a_layer(tmp_path):
    theirs, arrays = restated("rsan", **NAMES["Keras 3"])
    order = ["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"]
    numbered = {}
    for name, values in arrays.items():
        layer, _, array = name.partition("/")
        number = order.index(array) - (2 if layer.startswith("batch") else 0)
        numbered[f"{layer}/vars/{number}"] = values
    path = written(tmp_path / "w.weights.h5", numbered, "layers/{layer}/{array}")
    model = from_keras(OURS["rsan"]().double(), path)
    assert np.abs(ours_of(model) - theirs).max() < 1e-12


def refusal(model, arrays, kind=ValueError):
    """The message of the error. Until it is raised, nothing is changed."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(kind) as caught:
        from_keras(model, arrays)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    return str(caught.value)


def test_what_is_missing_and_what_is_left_over_is_named():
    _, arrays = restated("sa_unet")
    del arrays["conv2d_3/bias:0"]
    arrays["dense_1/kernel:0"] = np.ones((2, 2))
    message = refusal(sa_unet(), arrays)
    assert "missing are bias of conv2d number 3 (for encoders.1.0.bias)" in message
    assert "left over are dense_1/kernel:0" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a | {"conv2d_1/kernel:0": np.ones((3, 3, 1, 16))},
            r"conv2d_1/kernel:0 must have shape \(3, 3, 3, 16\) for encoders.0.0.weight, "
            r"got \(3, 3, 1, 16\)",
        ),
        (
            lambda a: {name: x for name, x in a.items() if not name.startswith("conv2d_16/")},
            r"missing are kernel of conv2d number 16 \(for head.weight\), bias of conv2d",
        ),
        (
            lambda a: a | {f"conv2d_17/{name}:0": np.ones(1) for name in ("kernel", "bias")},
            "missing are none, left over are conv2d_17/kernel:0, conv2d_17/bias:0$",
        ),
        (
            lambda a: a | {"again/conv2d_1/bias": a["conv2d_1/bias:0"]},
            "names must differ in layer and array, got 'conv2d_1/bias:0' and 'again/conv2d_1/bias'",
        ),
        (lambda a: {}, "weights must have names as Keras gives them, .*, got none"),
        (
            lambda a: {name.replace("conv2d", "mine"): x for name, x in a.items()},
            r"missing are kernel of conv2d number 1 .* more, left over are mine_1/kernel:0, ",
        ),
        (
            lambda a: {f"{i}/kernel": x for i, x in enumerate(a.values())},
            "weights must have names as Keras gives them, .*, got 0/kernel, 1/kernel, ",
        ),
    ],
    ids=["shape", "a layer fewer", "a layer more", "twice", "nothing", "renamed", "other names"],
)
def test_other_weights_are_refused(change, message):
    _, arrays = restated("sa_unet")
    assert re.search(message, refusal(sa_unet(), change(arrays)))


@pytest.mark.parametrize("number", [1, 3, 15])
def test_the_layer_that_is_missing_is_named(number):
    """By its number, also in the middle; the last one and the first are the end either way."""
    _, arrays = restated("sd_unet")
    arrays = {name: x for name, x in arrays.items() if not name.startswith(f"conv2d_{number}/")}
    message = refusal(sd_unet(), arrays)
    named = 15 if number == 1 else number
    assert f"missing are kernel of conv2d number {named} " in message
    assert message.endswith("left over are none")


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x.astype(">f8"),
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
        np.longdouble,
    ],
    ids=["big-endian", "tensor", "list", "Fortran", "read-only", "long double"],
)
@pytest.mark.filterwarnings("error")
def test_arrays_of_any_kind(kind):
    theirs, arrays = restated("sd_unet")
    model = from_keras(sd_unet().double(), {name: kind(x) for name, x in arrays.items()})
    assert np.abs(ours_of(model) - theirs).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("conv2d_1/bias:0", np.ones(16, complex), "conv2d_1/bias:0 must be .* real numbers, got c"),
        ("conv2d_1/bias:0", ["a"] * 16, "conv2d_1/bias:0 must be .* real numbers, got <U1"),
        ("conv2d_1/bias:0", None, "conv2d_1/bias:0 must be .* real numbers, got object"),
        (3, np.ones(16), "weights must have names that are strings, got 3"),
    ],
)
def test_what_is_no_array_of_numbers(name, values, message):
    _, arrays = restated("sd_unet")
    assert re.search(message, refusal(sd_unet(), arrays | {name: values}, TypeError))


def test_the_state_of_dropout_is_skipped():
    _, arrays = restated("sd_unet")
    from_keras(sd_unet(), arrays | {"dropout/seed_generator/seed_generator_state": np.ones(2)})


def test_pruned_layers_are_refused():
    _, arrays = restated("sd_unet")
    model = sd_unet()
    prune.identity(model.head, "weight")
    message = refusal(model, arrays)
    assert (
        "without pruning and the like, got Conv2d(16, 1, kernel_size=(1, 1), stride=(1, 1)) as head"
        in message
    )


def test_weights_for_another_kernel_say_so():
    _, arrays = restated("rsan")
    message = refusal(rsan(), arrays)
    assert "conv2d_transpose_1/kernel:0 must have shape (2, 2, 64, 128) for ups.0.weight" in message
    assert "got (3, 3, 64, 128)" in message


def test_deep_supervision_keeps_its_own_heads():
    _, arrays = restated("sd_unet")
    model = sd_unet(deep_supervision=True)
    before = [head.weight.clone() for head in model.deep_heads]
    from_keras(model, arrays)
    assert all(torch.equal(h.weight, w) for h, w in zip(model.deep_heads, before, strict=True))


@pytest.mark.parametrize(
    ("model", "weights", "kind", "message"),
    [
        (nn.Conv2d(1, 1, 1), {}, TypeError, "from_keras: model must be an? UNet, got Conv2d"),
        (sd_unet(), 3, TypeError, "weights must be a str or a Path or a Mapping, got int"),
        (sd_unet(), "no/such.h5", FileNotFoundError, "there is no file no.such.h5"),
        (
            UNet(stage=plain_stage(attention=CBAM)),
            {"conv2d/bias": [0.0]},
            ValueError,
            r"no layers with weights but .* got Linear\(.*\) as encoders.0.attention.channel.fc1",
        ),
    ],
)
def test_wrong_arguments(model, weights, kind, message):
    assert re.search(message, refusal(model, weights, kind))


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"not a file of weights")
    assert re.search(
        f"{re.escape(str(path))} must be an HDF5 file .*save_weights", refusal(sd_unet(), path)
    )


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "w.h5", {}, "")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install '.[keras]'" in refusal(sd_unet(), path, ModuleNotFoundError)
