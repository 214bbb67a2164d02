"""Recipes: what they compute, and which they refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    CROPS_RECIPE,
    DRIVE_PROTOCOL,
    Augmentation,
    Crops,
    Recipe,
    on_crops,
)


def test_the_rate_falls_once():
    recipe = Recipe(learning_rate=1e-3, first_part=0.75)
    rates = [recipe.learning_rate_at(step, 20) for step in range(20)]
    assert rates == [1e-3] * 15 + [1e-3 / 10] * 5


def test_the_rate_rises_and_falls_by_a_cosine():
    recipe = Recipe(learning_rate=3e-3, schedule="cosine", warm_up=0.1)
    rates = [recipe.learning_rate_at(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([3e-4 * n for n in range(1, 11)])
    assert rates[10] == 3e-3
    assert rates[55] == pytest.approx(1.5e-3)
    assert rates[99] < 2e-6
    assert np.all(np.diff(rates[10:]) < 0)


@pytest.mark.parametrize(("images", "steps"), [(18, 1800), (17, 1800), (1, 200)])
def test_a_pass_ends_with_an_incomplete_batch(images, steps):
    assert Recipe(epochs=200, batch_size=2).steps_for(images) == steps


def test_the_papers_steps_and_rates():
    for protocol, steps, last_high in (
        (DRIVE_PROTOCOL, 200 * 9, 150 * 9 - 1),
        (CHASE_DB1_PROTOCOL, 150 * 18, 100 * 18 - 1),
    ):
        recipe = protocol.recipe
        assert recipe.steps_for(18) == steps
        assert recipe.learning_rate_at(last_high, steps) == 1e-3
        assert recipe.learning_rate_at(last_high + 1, steps) == pytest.approx(1e-4)
        # All else is off.
        assert replace(recipe, epochs=200, batch_size=2, first_part=0.75, side=None) == Recipe()


def test_the_recipe_of_the_shipped_weights():
    assert (
        Recipe(
            steps=1900,
            batch_size=4,
            crops=Crops(256, 0.5, 1.25, 0.1, 0.12, 0.06, 0.15, 0.03),
            learning_rate=3e-3,
            schedule="cosine",
            warm_up=0.1,
            weight_decay=0.01,
            max_norm=1.0,
            ramp=0.5,
            average=0.995,
            calibrate=True,
            validate_every=100,
        )
        == CROPS_RECIPE
    )
    protocol = on_crops(CHASE_DB1_PROTOCOL)
    assert (protocol.recipe, protocol.p) == (CROPS_RECIPE, 0.05)
    assert protocol.test == CHASE_DB1_PROTOCOL.test


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("steps", 0, "steps must be at least 1, got 0"),
        ("batch_size", -1, "batch_size must be at least 1, got -1"),
        ("side", 0, "side must be at least 1, got 0"),
        ("validate_every", 0, "validate_every must be at least 1, got 0"),
        ("learning_rate", 0.0, "learning_rate must be above 0 and finite, got 0.0"),
        ("learning_rate", math.nan, "learning_rate must be above 0 and finite, got nan"),
        ("learning_rate", math.inf, "learning_rate must be above 0 and finite, got inf"),
        ("input_scale", 0.0, "input_scale must be above 0"),
        ("max_norm", 0.0, "max_norm must be above 0"),
        ("weight_decay", -0.1, "weight_decay must be at least 0"),
        ("dice", math.nan, "dice must be at least 0"),
        ("cl_dice", -1.0, "cl_dice must be at least 0"),
        ("cl_dice_iterations", -1, "cl_dice_iterations must be at least 0, got -1"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("seed", 2**32, "seed must be at most 4294967295, got 4294967296"),
        (
            "input_scale",
            0.98,
            r"input_scale must be 1 or differ from it by 0\.03 or more, got 0\.98",
        ),
        ("first_part", 1.5, r"first_part must lie in \[0, 1\], got 1.5"),
        ("warm_up", -0.5, r"warm_up must lie in \[0, 1\], got -0.5"),
        ("auxiliary", 2.0, r"auxiliary must lie in \[0, 1\], got 2.0"),
        ("ramp", 1.1, r"ramp must lie in \[0, 1\], got 1.1"),
        ("average", 1.0, r"average must lie in \[0, 1\), got 1.0"),
        ("schedule", "flat", r"schedule must be one of \('step', 'cosine'\), got 'flat'"),
        ("precision", "fp16", r"precision must be one of \(.*\), got 'fp16'"),
    ],
)
def test_bad_values(field, value, message):
    with pytest.raises(ValueError, match=f"Recipe: {message}"):
        Recipe(**{field: value})


@pytest.mark.parametrize(
    "field", ["epochs", "steps", "batch_size", "side", "validate_every", "seed"]
)
@pytest.mark.parametrize("value", [2.5, True, "3"])
def test_counts_are_ints(field, value):
    with pytest.raises(TypeError, match=f"Recipe: {field} must be an int, got {value!r}"):
        Recipe(**{field: value})


@pytest.mark.parametrize(
    "other", [{"side": 592}, {"augmentation": Augmentation(flip=True)}], ids=["side", "augment"]
)
def test_crops_are_neither_padded_nor_augmented(other):
    with pytest.raises(ValueError, match="with crops, side must be None and augmentation"):
        Recipe(crops=Crops(), **other)


def test_precision_is_resolved_for_the_machine():
    assert Recipe(precision="no").resolved_precision() == "no"
    assert Recipe(precision="bf16").resolved_precision() == "bf16"
    assert Recipe().resolved_precision() in ("no", "bf16")


@pytest.mark.parametrize(
    ("make", "field", "value", "message"),
    [
        (Recipe, "learning_rate", None, "learning_rate must be a number, got None"),
        (Recipe, "learning_rate", True, "learning_rate must be a number, got True"),
        (Recipe, "input_scale", None, "input_scale must be a number, got None"),
        (Recipe, "max_norm", "1", "max_norm must be a number, got '1'"),
        (Recipe, "dice", np.ones(1), "dice must be a number, got"),
        (Recipe, "warm_up", "x", "warm_up must be a number, got 'x'"),
        (Recipe, "average", None, "average must be a number, got None"),
        (Recipe, "crops", {"side": 24}, "crops must be a Crops or None, got dict"),
        (Recipe, "augmentation", None, "augmentation must be an Augmentation, got NoneType"),
        (Recipe, "calibrate", "no", "calibrate must be a bool, got str"),
        (Crops, "gain", "x", "gain must be a number, got 'x'"),
        (Crops, "free", None, "free must be a number, got None"),
        (Augmentation, "flip", "no", "flip must be a bool, got str"),
        (Augmentation, "gamma", None, "gamma must be a number, got None"),
    ],
)
def test_bad_types(make, field, value, message):
    with pytest.raises(TypeError, match=f"{make.__name__}: {message}"):
        make(**{field: value})
