"""What Keras 3 saves of the authors' networks gives the same here. Skipped without Keras."""

from functools import partial
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from torchattn_blocks import rsan, sa_unet, sd_unet
from torchattn_blocks.convert import from_keras

OURS = {"rsan": partial(rsan, up_kernel_size=3), "sd_unet": sd_unet, "sa_unet": sa_unet}


@pytest.fixture(scope="module")
def graphs():
    if not find_spec("keras"):
        pytest.skip("keras is not installed")
    return import_module("keras_graphs")


def arrays(model, path):
    return {weight.path: np.asarray(weight.value.detach()) for weight in model.weights}


def weights(model, path):
    model.save_weights(path / "mine.weights.h5")
    return path / "mine.weights.h5"


def whole(model, path):
    model.save(path / "mine.h5")
    return path / "mine.h5"


def trained(model, path):
    """A file with the state of an optimiser."""
    before = model.get_weights()
    model.compile("adam", "binary_crossentropy")
    model.fit(np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 16, 1)), verbose=0)
    model.set_weights(before)
    return whole(model, path)


@pytest.mark.filterwarnings("ignore")  # the form .h5 is old
@pytest.mark.parametrize("saved", [arrays, weights, whole, trained])
@pytest.mark.parametrize("name", OURS)
def test_it_gives_the_probabilities_of_keras(graphs, name, saved, tmp_path):
    keras_model = graphs.filled(getattr(graphs, name))  # names count on from test to test
    image = np.random.default_rng(1).random((1, 48, 64, 3), dtype=np.float32)
    theirs = np.asarray(keras_model(image, training=False).detach())
    model = from_keras(OURS[name](), saved(keras_model, tmp_path)).eval()
    with torch.no_grad():
        ours = model.predict_proba(torch.from_numpy(image).permute(0, 3, 1, 2))
    difference = np.abs(ours.permute(0, 2, 3, 1).numpy() - theirs).max()
    print(f"largest difference of probabilities: {difference:.1e}")  # for `pytest -s`
    assert difference < 1e-5
    assert theirs.std() > 0.02
