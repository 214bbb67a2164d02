"""Training: that it learns, repeats, resumes, and refuses what it cannot train on."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchattn_blocks import rsan
from torchattn_blocks.retina import (
    EpochLog,
    Recipe,
    pooled_scores,
    synthesize,
    train,
    vessel_probability,
)
from torchattn_blocks.retina.training import _CrossEntropy

FAST = Recipe(epochs=3, batch_size=2, precision="no")


@pytest.fixture(scope="module")
def photographs():
    return [synthesize(seed, height=64, width=64) for seed in range(6)]


def small_rsan(seed=0):
    torch.manual_seed(seed)
    return rsan(widths=(8, 16))


def run(folder, photographs, recipe=FAST, **options):
    model = small_rsan()
    log = train(model, photographs[:4], photographs[4:], recipe, folder, **options)
    return model, log


def equal(a, b):
    return all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())


def test_learns(tmp_path, photographs):
    recipe = replace(FAST, epochs=25, learning_rate=1e-2)
    model, log = run(tmp_path, photographs, recipe)
    assert log[-1].training_loss < 0.6 * log[0].training_loss
    maps = [vessel_probability(model, f.image) for f in photographs[4:]]
    assert pooled_scores(maps, [f.label for f in photographs[4:]])["AUC"] > 0.8


def test_a_seed_repeats_and_another_does_not(tmp_path, photographs):
    first, _ = run(tmp_path / "a", photographs)
    again, _ = run(tmp_path / "b", photographs)
    other, _ = run(tmp_path / "c", photographs, replace(FAST, seed=1))
    assert equal(first, again)
    assert not equal(first, other)


class PowerCutError(Exception):
    pass


def test_resuming_ends_as_an_uninterrupted_run(tmp_path, photographs, monkeypatch):
    whole, log = run(tmp_path / "whole", photographs)
    forward, calls = _CrossEntropy.forward, itertools.count(1)

    def cut_in_the_last_epoch(self, images, labels):
        if next(calls) == 9:  # an epoch is two steps and the two photographs of validation
            raise PowerCutError
        return forward(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(_CrossEntropy, "forward", cut_in_the_last_epoch)
        with pytest.raises(PowerCutError):
            run(tmp_path / "part", photographs)
    resumed, resumed_log = run(tmp_path / "part", photographs, resume=True)
    assert equal(resumed, whole)
    assert resumed_log == log


def test_resuming_a_finished_run_trains_no_further(tmp_path, photographs):
    model, log = run(tmp_path, photographs)
    again, log_again = run(tmp_path, photographs, resume=True)
    assert equal(model, again)
    assert log == log_again


def test_log_is_written(tmp_path, photographs):
    _, log = run(tmp_path, photographs)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == EpochLog._fields
    assert [tuple(map(float, row)) for row in rows[1:]] == log
    assert len(log) == 3


def test_rate_falls_once():
    recipe = Recipe(epochs=20, learning_rate=1e-3, first_part=0.75)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(20)]
    assert rates == [1e-3] * 15 + [1e-3 / 10] * 5


def test_the_model_is_left_as_it_was_but_for_its_weights(tmp_path, photographs):
    model, _ = run(tmp_path, photographs, replace(FAST, epochs=1))
    assert "forward" not in vars(model)
    assert model.eval()(torch.rand(1, 3, 20, 20)).dtype == torch.float32


def test_sizes_that_differ_are_padded_to_one(tmp_path):
    given = [synthesize(0, height=64, width=66), synthesize(1, height=70, width=64)]
    train(small_rsan(), given, given[:1], replace(FAST, epochs=1), tmp_path, side=72)
    with pytest.raises(ValueError, match=r"training must hold photographs of one size.*64, 66"):
        train(small_rsan(), given, given[:1], FAST, tmp_path)


def test_refuses_photographs_without_labels(tmp_path, photographs):
    bare = [replace(photographs[0], label=None)]
    with pytest.raises(ValueError, match="photograph synthetic-0000 of validation has no label"):
        train(small_rsan(), photographs, bare, FAST, tmp_path)
    with pytest.raises(ValueError, match="training must hold photographs of one size, got none"):
        train(small_rsan(), [], photographs, FAST, tmp_path)


def test_refuses_to_resume_another_recipe(tmp_path, photographs):
    run(tmp_path, photographs, replace(FAST, epochs=1))
    with pytest.raises(ValueError, match=r"checkpoint is of another recipe.*'epochs': 1"):
        run(tmp_path, photographs, FAST, resume=True)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", -1, "batch_size must be at least 1, got -1"),
        ("learning_rate", 0.0, "learning_rate must be above 0, got 0.0"),
        ("learning_rate", np.nan, "learning_rate must be above 0, got nan"),
        ("first_part", 1.5, r"first_part must lie in \[0, 1\], got 1.5"),
        ("precision", "fp16", "precision must be .* got 'fp16'"),
    ],
)
def test_bad_recipes(field, value, message):
    with pytest.raises(ValueError, match=f"Recipe: {message}"):
        Recipe(**{field: value})
