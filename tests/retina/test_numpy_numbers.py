"""NumPy's numbers are taken wherever Python's are, and are plain numbers from then on."""

import json
from dataclasses import asdict, fields

import numpy as np
import pytest
import torch

from torchattn_blocks import rsan
from torchattn_blocks.retina import (
    CROPS_RECIPE,
    Augmentation,
    Crops,
    Network,
    Recipe,
    Settings,
    Split,
    Trained,
    cross_validation,
    evaluate,
    load_weights,
    save_weights,
    segment,
    segment_monte_carlo,
    synthesize,
    train,
    vessel_probability,
)

RECORDS = [
    CROPS_RECIPE,
    Recipe(side=592, max_norm=1.0, cl_dice=0.5, cl_dice_iterations=3, calibrate=True),
    Crops(),
    Augmentation(flip=True, brightness=0.1),
    Network(),
    Settings(Network(), 540.0, 592),
]


def of_numpy(value):
    """The same number, or numbers, in NumPy's types."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float32(value)
    return tuple(map(of_numpy, value)) if isinstance(value, tuple) else value


def kinds(value):
    if isinstance(value, dict):
        return {name: kinds(part) for name, part in value.items()}
    return [kinds(part) for part in value] if isinstance(value, tuple) else type(value)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_hold_plain_numbers(record):
    values = {f.name: of_numpy(getattr(record, f.name)) for f in fields(record)}
    made = type(record)(**values)
    assert kinds(asdict(made)) == kinds(asdict(record))
    for name, value in asdict(record).items():
        if isinstance(value, int | float):
            assert getattr(made, name) == pytest.approx(value, rel=1e-7)
    json.dumps(asdict(made))


@pytest.mark.parametrize(
    "wrong", [np.float64(2.0), np.bool_(True), np.array([2]), np.timedelta64(2)], ids=repr
)
def test_what_is_no_int_is_refused(wrong):
    for make in (
        lambda: Recipe(batch_size=wrong),
        lambda: Crops(side=wrong),
        lambda: synthesize(wrong),
        lambda: cross_validation(Split([], [], []), 1, wrong),
    ):
        with pytest.raises(TypeError, match="must be an int, got"):
            make()


def test_all_floats_of_numpy_are_plain_also_in_what_is_told_of_weights(tmp_path):
    rate = Recipe(learning_rate=np.longdouble(0.001)).learning_rate
    assert (type(rate), rate) == (float, 0.001)
    about = {"auc": np.float32(0.5), "each": [np.int64(3), (np.bool_(True),)], "map": np.ones(2)}
    network = Network(widths=np.array([4, 8]), p=np.float16(0.5))
    assert network == Network(widths=[4, 8], p=0.5) == Network(widths=(4, 8), p=0.5)
    settings = Settings(network, np.longdouble(60), about=about)
    save_weights(tmp_path / "w.safetensors", network.build(), settings)
    known = load_weights(tmp_path / "w.safetensors").settings
    assert known.about == {"auc": 0.5, "each": [3, [True]], "map": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"network": 3}, TypeError, "network must be a Network, got int"),
        ({"fov_diameter": "a"}, TypeError, "fov_diameter must be a number, got 'a'"),
        ({"fov_diameter": 0}, ValueError, "fov_diameter must be above 0 and finite, got 0"),
        ({"side": 0}, ValueError, "side must be at least 1, got 0"),
        ({"side": 5.0}, TypeError, "side must be an int, got 5.0"),
    ],
)
def test_settings_are_checked(options, error, message):
    with pytest.raises(error, match=f"^Settings: {message}"):
        Settings(**{"network": Network(), "fov_diameter": 540, **options})


def test_a_network_of_numpys_numbers_is_trained_saved_and_loaded(tmp_path):
    network = Network(widths=np.array([4, 8]).tolist(), p=np.float32(0.1), block_size=np.int8(3))
    assert (network.widths, type(network.p)) == ((4, 8), float)
    network = Network(widths=(np.int64(4), np.int32(8)), p=np.float32(0.1))
    images = [
        synthesize(np.int64(seed), height=np.uint8(64), width=np.int16(64)) for seed in (0, 1)
    ]
    recipe = Recipe(
        steps=np.int64(1), batch_size=np.int64(1), learning_rate=np.float32(1e-3), seed=np.uint8(3)
    )
    torch.manual_seed(0)
    options = {"network": network, "dataset": "drawn", "workers": np.int64(0)}
    train(network.build(), images[:1], images[1:], recipe, tmp_path, **options)
    recorded = json.loads((tmp_path / "run.json").read_text())
    assert recorded["recipe"]["batch_size"] == 1
    trained = load_weights(tmp_path / "last.safetensors")
    assert trained.settings.network == network
    assert isinstance(trained, Trained)
    settings = Settings(network, np.float64(60), np.int64(64))
    save_weights(tmp_path / "again.safetensors", trained.model, settings)
    assert load_weights(tmp_path / "again.safetensors").settings == Settings(network, 60.0, 64)
    image = images[0].image
    expected = segment(image, trained, fov_diameter=50.0)
    assert np.array_equal(segment(image, trained, fov_diameter=np.float32(50)), expected)
    options = {"passes": np.int64(2), "seed": np.int64(1)}
    mean, _ = segment_monte_carlo(image, trained, **options)
    assert mean.shape == image.shape[:2]


def test_functions_take_them():
    drawn = [kind(5) for kind in (int, np.uint8)], [kind(150) for kind in (int, np.uint8)]
    pairs = zip(*drawn, strict=True)
    plain, other = (synthesize(seed, height=side, width=side) for seed, side in pairs)
    assert (plain.name, plain.image.tobytes()) == (other.name, other.image.tobytes())
    image = synthesize(0, height=64, width=64)
    model = rsan(widths=(4, 8))
    padded = [vessel_probability(model, image.image, side) for side in (72, np.int64(72))]
    assert np.array_equal(*padded)
    report = evaluate([image], [image.label * 0.8 + 0.1], chosen_threshold=np.float32(0.25))
    assert json.loads(json.dumps(report.as_data()))["chosen"]["threshold"] == 0.25
    with pytest.raises(TypeError, match="evaluate: chosen_threshold must be a number, got"):
        evaluate([image], [image.label * 0.8 + 0.1], chosen_threshold="0.5")
