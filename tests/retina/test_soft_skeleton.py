"""The soft clDice loss sees vessels of every width that the training masks have."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_rsan
from torch import nn

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    Fundus,
    Recipe,
    list_chase_db1,
    list_drive,
    load_weights,
    train,
)
from torchattn_blocks.retina.network import Network
from torchattn_blocks.retina.training import soft_skeleton
from torchattn_blocks.retina.training.examples import prepared_label
from torchattn_blocks.retina.training.losses import Objective
from torchattn_blocks.retina.training.soft_skeleton import iterations_for, unseen


def crossing(width, side=96):
    """A mask (1, H, W) of a vessel of this width from side to side, and a thin one beside it."""
    label = torch.zeros(1, side, side)
    label[:, 20 : 20 + width] = 1
    label[:, 80:82] = 1
    return label


class Nothing(nn.Module):
    """Predicts no vessel anywhere."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(-30.0))

    def forward(self, x):
        return self.logit + 0 * x[:, :1]


def loss_of_nothing(label, iterations):
    """The soft clDice loss of predicting nothing."""
    layout = torch.contiguous_format
    plain, added = (
        Recipe(cl_dice=weight, cl_dice_iterations=iterations, precision="no") for weight in (0, 1)
    )
    x = torch.zeros(1, 3, *label.shape[1:])
    with torch.no_grad():
        return (
            Objective(Nothing(), added, layout)(x, label[None])[0]
            - Objective(Nothing(), plain, layout)(x, label[None])[0]
        ).item()


@pytest.mark.parametrize(("width", "iterations"), [(2, 0), (8, 3), (9, 4), (16, 7)])
def test_the_iterations_see_the_widest_vessel(width, iterations):
    label = crossing(width)
    label[:, 60:] = 0  # the wide one alone
    assert iterations_for([label]) == iterations
    assert loss_of_nothing(label, iterations) > 0.9
    if iterations:
        assert loss_of_nothing(label, iterations - 1) < 0.01  # as if it were all right


def test_one_image_with_wide_vessels_decides():
    assert iterations_for([crossing(3), crossing(16), crossing(5)]) == 7
    assert iterations_for([torch.zeros(1, 20, 20)]) == 0


def test_at_half_the_scale_vessels_are_half_as_wide():
    fundus = made_up(32)
    assert iterations_for([prepared_label(fundus, Recipe())]) == 15
    half = prepared_label(fundus, Recipe(input_scale=0.5))
    assert iterations_for([half]) in (7, 8)  # resizing softens borders


def made_up(width, name="x"):
    label = crossing(width)[0].numpy() > 0
    image = np.where(label[..., None], (90, 30, 20), (180, 90, 40)).astype(np.uint8)
    return Fundus(name, image, label, np.ones_like(label))


def test_a_training_finds_them_and_writes_them_down(tmp_path):
    images = [made_up(9, name) for name in "abc"]
    recipe = Recipe(epochs=1, batch_size=2, cl_dice=0.5, precision="no")
    network = Network(widths=(4, 8))
    train(network.build(), images[:2], images[2:], recipe, tmp_path, network=network)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"]["cl_dice_iterations"] == 4
    about = load_weights(tmp_path / "last.safetensors").settings.about
    assert about["recipe"]["cl_dice_iterations"] == 4


def test_too_few_iterations_are_refused_before_anything_is_written(tmp_path):
    images = [made_up(16, name) for name in "abc"]
    recipe = Recipe(epochs=1, cl_dice=0.5, cl_dice_iterations=6, precision="no")
    with pytest.raises(ValueError, match=r"cl_dice_iterations must be at least 7 .* got 6"):
        train(small_rsan(), images[:2], images[2:], recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(
        small_rsan(), images[:2], images[2:], replace(recipe, cl_dice_iterations=9), tmp_path / "b"
    )
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["recipe"]["cl_dice_iterations"] == 9


@pytest.mark.parametrize(
    ("name", "iterations", "lost", "left"),
    [
        ("drive", 5, 0.029, 0.0017),
        pytest.param("chase_db1", 10, 0.353, 0.0022, marks=pytest.mark.slow),
    ],
)
def test_real_vessels(name, iterations, lost, left, real_data, monkeypatch):
    if name == "drive":
        files = list_drive(real_data / "DRIVE", "training")
        training = [f for f in files if f.name not in DRIVE_PROTOCOL.validation]
    else:
        training = CHASE_DB1_PROTOCOL.split(list_chase_db1(real_data / "CHASE_DB1")).training
    labels = [prepared_label(files.read(), Recipe()) for files in training]
    found = unseen(labels)
    monkeypatch.setattr(soft_skeleton, "unseen", lambda given: found if given is labels else None)
    assert iterations_for(labels) == iterations
    assert found[3] == pytest.approx(lost, abs=5e-4)  # with MONAI's default
    assert found[iterations] == pytest.approx(left, abs=5e-5)


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_an_image_that_is_all_vessel_has_no_line(level):
    assert iterations_for([torch.full((1, 20, 30), level)]) == 0
    label = torch.full((1, 20, 30), level)
    label[:, :5] = 0  # as of resized masks, some values are no zeros
    iterations_for([label])
    iterations_for([torch.rand(1, 20, 30, generator=torch.manual_seed(0)) + 0.01])
