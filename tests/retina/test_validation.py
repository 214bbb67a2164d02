"""The scores of validations: those of the weights that are written, by the rules of `evaluate`."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import FAST, SMALL_CROPS, drawn, run

from torchattn_blocks.retina import (
    Fundus,
    LogEntry,
    Network,
    Recipe,
    evaluate,
    fov_diameter,
    load_weights,
    save_training_curves,
    segment,
)
from torchattn_blocks.retina.training import curves, validation
from torchattn_blocks.retina.training.losses import fastest_layout
from torchattn_blocks.retina.training.validation import Validation

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def eyes():
    return [drawn(seed, 64, 64) for seed in range(7)]


@pytest.mark.parametrize("recipe", [FAST, replace(SMALL_CROPS, steps=30, learning_rate=1e-2)])
def test_they_are_what_evaluate_finds_in_the_field_of_view(tmp_path, eyes, recipe):
    recipe = replace(recipe, validate_every=30)
    _, log = run(tmp_path, eyes, recipe, network=Network(widths=(8, 16)))
    trained = load_weights(tmp_path / "last.safetensors")
    watched = eyes[4:]
    # At the diameter of each image, as in the training.
    maps = [
        segment(f.image, trained._replace(settings=replace(trained.settings, side=64)), fov=f.fov,
                fov_diameter=fov_diameter(f.fov))
        for f in watched
    ]  # fmt: skip
    scores = evaluate(watched, maps).network.fov
    assert log[-1].f1 == pytest.approx(scores.pooled["F1"], abs=2e-3)
    assert log[-1].auc == pytest.approx(scores.pooled["AUC"], abs=1e-5)
    assert log[-1].cl_dice == pytest.approx(scores.per_image["clDice"].mean, abs=5e-3)
    about = trained.settings.about
    assert (about["f1"], about["auc"]) == (log[-1].f1, log[-1].auc)


def test_they_are_in_the_log_and_in_the_bar(tmp_path, eyes, capsys):
    _, log = run(tmp_path, eyes, SMALL_CROPS)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["step", "training_loss", "validation_loss", "f1", "auc", "cl_dice"]
    assert [float(row["auc"]) for row in rows] == [entry.auc for entry in log]
    assert f"F1={log[1].f1:.4f}" in capsys.readouterr().err


def test_they_survive_a_stop(tmp_path, eyes):
    _, whole = run(tmp_path / "whole", eyes, SMALL_CROPS)
    run(tmp_path / "part", eyes, SMALL_CROPS, max_time=1e-3)
    _, part = run(tmp_path / "part", eyes, SMALL_CROPS, resume=True)
    assert whole == part


class Copies(torch.nn.Module):
    """A network whose logits are the red channel, stretched."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return 20 * self.weight * (x[:, :1] - 0.5)


def red(name, values, label, fov=None):
    """An image whose red channel is given."""
    image = np.zeros((*values.shape, 3), np.uint8)
    image[..., 0] = values
    fov = np.ones(values.shape, bool) if fov is None else fov
    return Fundus(name, image, label, fov)


def validated(images, training=(), **options):
    recipe = Recipe(precision="no", **options)
    return Validation(images, training, recipe)(Copies(), fastest_layout(CPU))


def test_pixels_outside_the_field_of_view_do_not_count():
    label = np.zeros((24, 24), bool)
    label[10:13] = True
    fov = np.ones((24, 24), bool)
    fov[:, 16:] = False
    wrong_outside = np.where(label & fov, 255, 0)
    wrong_outside[:, 20:] = 255
    found = validated([red("a", wrong_outside, label, fov)])
    assert (found.f1, found.auc, found.cl_dice, found.choice) == (1.0, 1.0, 1.0, None)


def test_f1_and_cl_dice_are_at_the_threshold_that_is_chosen():
    label = np.zeros((24, 24), bool)
    label[10:13] = True
    faint = np.where(label, 120, 60)  # below one half
    assert validated([red("a", faint, label)]).f1 == 0.0
    found = validated([red("a", faint, label)], calibrate=True)
    assert (found.f1, found.cl_dice) == (1.0, 1.0)
    assert found.choice.shift > 0


def test_training_images_help_to_choose_the_threshold_and_are_not_scored():
    label = np.zeros((24, 24), bool)
    label[10:13] = True
    # Vessels at a logit of -0.6 in the validation image, and at -1.8 in three training images.
    few, many = (np.where(label, value, 60) for value in (120, 104))
    fov = np.ones((24, 24), bool)
    fov[:, 20:] = False  # what lies outside does not choose
    many[:, 20:] = np.where(label[:, 20:], 60, 120)
    training = [red(f"t{number}", many, label, fov) for number in range(3)]
    alone = validated([red("a", few, label)], calibrate=True)
    found = validated([red("a", few, label)], training, calibrate=True)
    assert (alone.f1, found.f1, found.auc) == (1.0, 1.0, 1.0)
    assert alone.choice.threshold == 0.35 < 1 / (1 + np.exp(20 * (0.5 - 120 / 255)))
    assert found.choice.threshold == 0.13 < 1 / (1 + np.exp(20 * (0.5 - 104 / 255)))
    assert found.choice.images == 4
    assert found.choice.sensitivity == 1.0
    assert found.choice.unshifted == 0.0
    many = [red(f"{number}", few, label) for number in range(30)]
    assert validated(many[:1], many, calibrate=True).choice.images == 1 + 10
    # Without calibration they are not looked at.
    assert Validation(training, training, Recipe()).others == []
    assert validated([red("a", few, label)], training).f1 == 0.0


def test_cl_dice_is_that_of_some_images_spread_over_all(monkeypatch):
    monkeypatch.setattr(validation, "_SKELETONS", 2)
    label = np.zeros((24, 24), bool)
    label[10:13] = True
    right, empty = np.where(label, 255, 0), np.zeros((24, 24), int)
    images = [red("a", right, label), red("b", empty, label), red("c", empty, label)]
    found = validated(images)  # of the first and the last
    assert found.cl_dice == 0.5
    assert found.f1 == pytest.approx(2 * 1 / (2 * 1 + 2))
    assert validated([images[0], images[1], images[0]]).cl_dice == 1.0
    assert validated(images[:2]).cl_dice == 0.5


def test_without_vessels_scores_are_undefined():
    blank = np.zeros((24, 24), bool)
    found = validated([red("a", np.zeros((24, 24), int), blank)])
    assert math.isfinite(found.loss)
    assert all(math.isnan(score) for score in (found.f1, found.auc, found.cl_dice))


def test_curves_have_a_panel_of_scores_where_there_are_any(drawn_figures, tmp_path):
    plain = [LogEntry(1, 0.3, 0.35), LogEntry(2, 0.2, 0.25)]
    scored = [entry._replace(f1=0.5, auc=0.8, cl_dice=0.6) for entry in plain]
    save_training_curves(tmp_path / "a.png", plain)
    save_training_curves(tmp_path / "b.png", scored)
    one, two = drawn_figures
    assert [len(figure.axes) for figure in (one, two)] == [1, 2]
    lines = {line.get_label(): line.get_ydata().tolist() for line in two.axes[1].lines}
    assert lines == {
        "F1: 0.5000 at the end": [0.5, 0.5],
        "AUC: 0.8000 at the end": [0.8, 0.8],
        "clDice: 0.6000 at the end": [0.6, 0.6],
    }


@pytest.fixture
def drawn_figures(monkeypatch):
    found, write = [], curves.write_figure
    monkeypatch.setattr(
        curves, "write_figure", lambda path, figure: (found.append(figure), write(path, figure))
    )
    return found
