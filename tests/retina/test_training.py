"""Training: that it learns, repeats, resumes, and refuses what it cannot train on."""

import csv
import itertools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from torchattn_blocks import rsan
from torchattn_blocks.retina import (
    Augmentation,
    EpochLog,
    FundusFiles,
    Network,
    Recipe,
    fov_diameter,
    load_weights,
    pooled_scores,
    synthesize,
    train,
    vessel_probability,
)
from torchattn_blocks.retina.data.tensors import image_tensor
from torchattn_blocks.retina.training import checkpoint, loop, time_limit
from torchattn_blocks.retina.training.checkpoint import progress
from torchattn_blocks.retina.training.losses import CrossEntropy

FAST = Recipe(epochs=3, batch_size=2, precision="no")


@pytest.fixture(scope="module")
def images():
    return [synthesize(seed, height=64, width=64) for seed in range(6)]


def small_rsan(seed=0):
    torch.manual_seed(seed)
    return rsan(widths=(8, 16))


def run(folder, images, recipe=FAST, **options):
    model = small_rsan()
    log = train(model, images[:4], images[4:], recipe, folder, **options)
    return model, log


def equal(a, b):
    return all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())


def test_learns(tmp_path, images):
    """It fits the images trained on; chance is .5.

    Four images of 64 x 64 teach too little to hold a score of others to anything: over seeds
    it ranges from below chance to far above.
    """
    recipe = replace(FAST, epochs=60, learning_rate=1e-2)
    model, log = run(tmp_path, images, recipe)
    assert log[-1].training_loss < 0.6 * log[0].training_loss
    maps = [vessel_probability(model, f.image) for f in images[:4]]
    assert pooled_scores(maps, [f.label for f in images[:4]])["AUC"] > 0.93


def test_a_seed_repeats_and_another_does_not(tmp_path, images):
    first, _ = run(tmp_path / "a", images)
    again, _ = run(tmp_path / "b", images)
    other, _ = run(tmp_path / "c", images, replace(FAST, seed=1))
    assert equal(first, again)
    assert not equal(first, other)


class PowerCutError(Exception):
    pass


def test_resuming_ends_as_an_uninterrupted_run(tmp_path, images, monkeypatch):
    whole, log = run(tmp_path / "whole", images)
    forward, calls = CrossEntropy.forward, itertools.count(1)

    def cut_in_the_last_epoch(self, images, labels):
        if next(calls) == 9:  # an epoch is two steps and the two images of validation
            raise PowerCutError
        return forward(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "forward", cut_in_the_last_epoch)
        with pytest.raises(PowerCutError):
            run(tmp_path / "part", images)
    resumed, resumed_log = run(tmp_path / "part", images, resume=True)
    assert equal(resumed, whole)
    assert resumed_log == log


def test_the_order_changes_by_epoch_and_is_resumed(tmp_path, monkeypatch):
    images = [synthesize(seed, height=64, width=64) for seed in range(7)]
    forward, seen = CrossEntropy.forward, []

    def spy(self, images, labels):
        if self.training:
            seen.extend(images.sum((1, 2, 3)).tolist())
        return forward(self, images, labels)

    monkeypatch.setattr(CrossEntropy, "forward", spy)
    train(small_rsan(), images[:6], images[6:], FAST, tmp_path / "whole")
    epochs = [seen[:6], seen[6:12], seen[12:]]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1

    seen.clear()
    save, calls = loop.save_checkpoint, itertools.count(1)

    def save_and_stop(*arguments):
        save(*arguments)
        if next(calls) == 3:  # that of the beginning, and two epochs'
            raise PowerCutError

    monkeypatch.setattr(loop, "save_checkpoint", save_and_stop)
    with pytest.raises(PowerCutError):
        train(small_rsan(), images[:6], images[6:], FAST, tmp_path / "part")
    train(small_rsan(), images[:6], images[6:], FAST, tmp_path / "part", resume=True)
    assert [seen[:6], seen[6:12], seen[12:]] == epochs


def test_the_rate_that_falls_is_the_one_that_trains(tmp_path, images):
    fallen, _ = run(tmp_path / "a", images, replace(FAST, first_part=0.0))
    low, _ = run(tmp_path / "b", images, replace(FAST, learning_rate=1e-4, first_part=1.0))
    high, _ = run(tmp_path / "c", images, replace(FAST, first_part=1.0))
    assert equal(fallen, low)
    assert not equal(fallen, high)


def test_validation_loss_is_of_its_images_in_evaluation(tmp_path, images):
    model, log = run(tmp_path, images, replace(FAST, epochs=1))
    model.eval()
    losses = []
    for fundus in images[4:]:
        target = torch.from_numpy(fundus.label).float()[None, None]
        logits = model(image_tensor(fundus.image)[None])
        losses.append(torch.nn.functional.binary_cross_entropy_with_logits(logits, target).item())
    assert log[0].validation_loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_two_precisions_in_one_process(tmp_path, images):
    exact, _ = run(tmp_path / "a", images)
    mixed, _ = run(tmp_path / "b", images, replace(FAST, precision="bf16"))
    assert not equal(exact, mixed)
    assert {w.dtype for w in mixed.parameters()} == {torch.float32}


def test_one_whole_checkpoint_is_left_and_other_files_are_not_touched(tmp_path, images):
    (tmp_path / "checkpoint-best").mkdir()
    run(tmp_path, images)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-3", "checkpoint-best", "log.csv", "recipe.json"]
    run(tmp_path, images, resume=True)


def test_a_cut_while_a_checkpoint_is_written_leaves_the_last(tmp_path, images, monkeypatch):
    whole, _ = run(tmp_path / "whole", images)
    save_state, calls = Accelerator.save_state, itertools.count(1)

    def cut(self, folder):
        save_state(self, folder)
        if next(calls) == 4:  # that of the beginning, and the third epoch's
            (Path(folder) / "model.safetensors").write_bytes(b"half")
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "save_state", cut)
        with pytest.raises(PowerCutError):
            run(tmp_path / "part", images)
    assert (tmp_path / "part" / "checkpoint-2").is_dir()
    resumed, _ = run(tmp_path / "part", images, resume=True)
    assert equal(resumed, whole)


def test_a_run_is_not_overwritten(tmp_path, images):
    run(tmp_path, images)
    with pytest.raises(ValueError, match=r"holds a run\. Use resume"):
        run(tmp_path, images)
    assert (tmp_path / "checkpoint-3").is_dir()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was(tmp_path, images, training):
    model = small_rsan().train(training)
    train(model, images[:2], images[:1], replace(FAST, epochs=1), tmp_path)
    assert model.training == training


def test_resuming_a_finished_run_trains_no_further(tmp_path, images):
    model, log = run(tmp_path, images)
    again, log_again = run(tmp_path, images, resume=True)
    assert equal(model, again)
    assert log == log_again


class FakeClock:
    """Time that passes only where a test lets it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time_limit, "monotonic", lambda: self.now)
        forward = CrossEntropy.forward

        def slow_forward(module, images, labels):
            self.now += 10.0
            return forward(module, images, labels)

        monkeypatch.setattr(CrossEntropy, "forward", slow_forward)


@pytest.mark.parametrize(
    ("max_time", "epochs"),
    [
        (1000.0, 3),  # an epoch takes 40 s: two steps, two images of validation
        (88.0 + 0.1, 2),  # 40 s more are foreseen to take 48
        (88.0 - 0.1, 1),
        (40.0, 1),
        (25.0, 0),  # within the first epoch, whose length nobody knows
        (15.0, 0),
        (1e-3, 0),
    ],
)
def test_max_time_stops_at_a_whole_epoch(tmp_path, images, monkeypatch, max_time, epochs):
    whole, log = run(tmp_path / "whole", images)
    with monkeypatch.context() as patch:
        clock = FakeClock(patch)
        part, part_log = run(tmp_path / "part", images, max_time=max_time)
    assert part_log == log[:epochs]
    # Steps are foreseen too, but not how long the first step and the first validation take.
    assert clock.now <= max(max_time, 10.0 if epochs else 20.0)
    assert progress(tmp_path / "part") == (epochs, 3)
    if epochs == 0:
        assert equal(part, small_rsan())
    resumed, resumed_log = run(tmp_path / "part", images, resume=True)
    assert equal(resumed, whole)
    assert resumed_log == log


def test_max_time_must_be_positive(tmp_path, images):
    with pytest.raises(ValueError, match="max_time must be above 0 seconds, got 0"):
        run(tmp_path, images, max_time=0)


def test_progress_of_no_run(tmp_path):
    assert progress(tmp_path) == (0, 0)


def test_last_and_best_weights_are_kept(tmp_path, images, monkeypatch):
    states, losses = [], iter([0.5, 0.5, 0.25, 0.25, 0.375, 0.375])
    save, forward = checkpoint.save_weights, CrossEntropy.forward

    def spy(path, model, settings):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        save(path, model, settings)

    monkeypatch.setattr(checkpoint, "save_weights", spy)
    monkeypatch.setattr(
        CrossEntropy,
        "forward",
        lambda self, *x: forward(self, *x) if self.training else torch.tensor(next(losses)),
    )
    network = Network(widths=(8, 16))
    run(tmp_path, images, network=network, dataset="none")
    last, best = (load_weights(tmp_path / f"{kind}.safetensors") for kind in ("last", "best"))
    # Saved: last 1, best 1, last 2, best 2, last 3.
    assert len(states) == 5
    assert all(torch.equal(v, states[4][k]) for k, v in last.model.state_dict().items())
    assert all(torch.equal(v, states[2][k]) for k, v in best.model.state_dict().items())
    assert (last.settings.about["epoch"], best.settings.about["epoch"]) == (3, 2)
    assert best.settings.about["validation_loss"] == 0.25
    assert best.settings.about["dataset"] == "none"
    assert best.settings.about["recipe"] == asdict(FAST)
    assert (best.settings.network, best.settings.side) == (network, None)
    diameters = sorted(fov_diameter(fundus.fov) for fundus in images[:4])
    assert diameters[0] <= best.settings.fov_diameter <= diameters[-1]
    assert not list(tmp_path.glob("*.partial"))


def test_images_are_changed_anew_in_each_epoch_and_so_resumed(tmp_path, monkeypatch):
    images = [synthesize(seed, height=64, width=72) for seed in range(4)]
    recipe = replace(FAST, side=80, augmentation=Augmentation(rotate=True, flip=True, gamma=0.2))
    forward, seen = CrossEntropy.forward, []

    def spy(self, images, labels):
        if self.training:
            seen.extend(zip(images.clone(), labels.clone(), strict=True))
        return forward(self, images, labels)

    monkeypatch.setattr(CrossEntropy, "forward", spy)
    whole, _ = run(tmp_path / "whole", images * 2, recipe)
    shapes = {tuple(image.any(0).nonzero().amax(0).tolist()) for image, _ in seen}
    assert len(shapes) > 1  # upright and lying ones
    assert len({round(image.sum().item(), 2) for image, _ in seen}) == len(seen) == 12
    # Vessels are darker than what is around them, wherever they have been moved to.
    for image, label in seen:
        green = image[1]
        assert green[label[0] > 0].mean() < green[(label[0] == 0) & (green > 0.1)].mean()
    monkeypatch.undo()
    run(tmp_path / "part", images * 2, replace(recipe), max_time=1e-3)
    resumed, _ = run(tmp_path / "part", images * 2, recipe, resume=True)
    assert equal(resumed, whole)


def test_rotation_needs_squares(tmp_path):
    lying = [synthesize(seed, height=64, width=72) for seed in range(2)]
    recipe = replace(FAST, augmentation=Augmentation(rotate=True))
    with pytest.raises(
        ValueError, match=r"rotate, images must be square .* images of shape \(64, 72\)"
    ):
        train(small_rsan(), lying, lying, recipe, tmp_path)


def test_log_is_written(tmp_path, images):
    _, log = run(tmp_path, images)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == EpochLog._fields
    assert [tuple(map(float, row)) for row in rows[1:]] == log
    assert len(log) == 3


def test_rate_falls_once():
    recipe = Recipe(epochs=20, learning_rate=1e-3, first_part=0.75)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(20)]
    assert rates == [1e-3] * 15 + [1e-3 / 10] * 5


def test_the_model_is_left_as_it_was_but_for_its_weights(tmp_path, images):
    model, _ = run(tmp_path, images, replace(FAST, epochs=1))
    assert "forward" not in vars(model)
    assert model.eval()(torch.rand(1, 3, 20, 20)).dtype == torch.float32


def test_sizes_that_differ_are_padded_to_one(tmp_path):
    given = [synthesize(0, height=64, width=66), synthesize(1, height=70, width=64)]
    train(small_rsan(), given, given[:1], replace(FAST, epochs=1, side=72), tmp_path)
    with pytest.raises(ValueError, match=r"all training images must have the same size.*64, 66"):
        train(small_rsan(), given, given[:1], FAST, tmp_path)


def test_refuses_images_without_labels(tmp_path, images):
    bare = [replace(images[0], label=None)]
    with pytest.raises(
        ValueError, match="every validation image must have a label; missing: synthetic-0000"
    ):
        train(small_rsan(), images, bare, FAST, tmp_path)
    with pytest.raises(ValueError, match=r"training must have at least 1 image, got 0"):
        train(small_rsan(), [], images, FAST, tmp_path)


def test_refuses_files_that_are_not_read(tmp_path, images):
    files = FundusFiles("1", tmp_path / "1.png", None, None, None)
    with pytest.raises(TypeError, match=r"training must hold Fundus, got FundusFiles\. Files must"):
        run(tmp_path, [files, *images[1:]])


def test_refuses_to_resume_another_recipe(tmp_path, images):
    run(tmp_path, images, replace(FAST, epochs=1))
    with pytest.raises(ValueError, match=r"holds a run with another recipe: epochs was 1, got 3"):
        run(tmp_path, images, FAST, resume=True)


def test_refuses_a_side_below_an_images(tmp_path, images):
    with pytest.raises(
        ValueError, match=r"at least 64, the longer side of training image synthetic-0000, got 60"
    ):
        run(tmp_path, images, replace(FAST, side=60))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", -1, "batch_size must be at least 1, got -1"),
        ("learning_rate", 0.0, "learning_rate must be above 0, got 0.0"),
        ("learning_rate", np.nan, "learning_rate must be above 0, got nan"),
        ("seed", -1, r"seed must lie in \[0, 2\*\*32\), got -1"),
        ("first_part", 1.5, r"first_part must lie in \[0, 1\], got 1.5"),
        ("precision", "fp16", "precision must be .* got 'fp16'"),
    ],
)
def test_bad_recipes(field, value, message):
    with pytest.raises(ValueError, match=f"Recipe: {message}"):
        Recipe(**{field: value})
