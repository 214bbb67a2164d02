"""Training: that it learns, repeats, validates, and refuses what it cannot train on."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import FAST, SMALL_CROPS, drawn, equal, run, small_rsan
from torch import nn

from torchattn_blocks import DropBlock2d, rsan
from torchattn_blocks.retina import (
    Augmentation,
    Crops,
    FundusFiles,
    LogEntry,
    Network,
    best_threshold,
    fov_diameter,
    load_weights,
    pooled_scores,
    segment,
    train,
    vessel_probability,
)
from torchattn_blocks.retina.data.tensors import image_tensor, mask_tensor
from torchattn_blocks.retina.training import loop, losses, validation
from torchattn_blocks.retina.training.losses import Objective, check_model


@pytest.fixture(scope="module")
def images():
    return [drawn(seed, 64, 64) for seed in range(6)]


def spy_on_training(monkeypatch):
    """The images and targets that a training sees from now on, one by one."""
    forward, seen = Objective.forward, []

    def spy(self, images, targets):
        if self.training:
            seen.extend(zip(images.clone(), targets.clone(), strict=True))
        return forward(self, images, targets)

    monkeypatch.setattr(Objective, "forward", spy)
    return seen


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


def test_random_numbers_outside_are_neither_read_nor_changed(tmp_path, images):
    results = []
    for folder, before in (("a", 1), ("b", 2)):
        model = small_rsan()
        torch.manual_seed(before)
        np.random.seed(before)  # noqa: NPY002
        state, legacy = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        train(model, images[:4], images[4:], FAST, tmp_path / folder)
        assert torch.equal(torch.get_rng_state(), state)
        assert np.random.get_state()[1].tolist() == legacy  # noqa: NPY002
        results.append(model)
    assert equal(*results)


def test_each_pass_has_every_image_once_in_another_order(tmp_path, monkeypatch):
    images = [drawn(seed, 64, 64) for seed in range(8)]
    seen = spy_on_training(monkeypatch)
    train(small_rsan(), images[:7], images[7:], FAST, tmp_path)  # 7 in batches of 2
    sums = [image.sum().item() for image, _ in seen]
    passes = [sums[:7], sums[7:14], sums[14:]]
    assert len({tuple(one) for one in passes}) == 3
    assert len({tuple(sorted(one)) for one in passes}) == 1
    assert len(set(sums)) == 7


def test_crops_are_new_at_each_step_and_every_image_gives_as_many(tmp_path, monkeypatch):
    # Images of one colour each, so that a crop tells where it is from.
    colours = (40, 120, 200)
    images = [
        replace(f, image=np.full_like(f.image, colour), fov=np.ones_like(f.fov))
        for colour, f in ((c, drawn(c, 64, 64)) for c in colours)
    ]
    recipe = replace(SMALL_CROPS, steps=9, batch_size=2, calibrate=False)
    still = Crops(side=24, gain=0, channel_gain=0, gamma=0, offset=0)
    seen = spy_on_training(monkeypatch)
    train(small_rsan(), images, images[:1], replace(recipe, crops=still), tmp_path)
    levels = [round(image.max().item() * 255) for image, _ in seen]
    assert len(levels) == 18
    for part in (levels[:3], levels[3:6], levels[15:]):
        assert sorted(part) == [40, 120, 200]
    assert all(image.shape == (3, 24, 24) for image, _ in seen)
    assert len({target.sum().item() for _, target in seen}) > 9


def test_images_are_augmented_anew_in_each_pass(tmp_path, monkeypatch):
    images = [drawn(seed, 64, 72) for seed in range(4)]
    recipe = replace(FAST, epochs=8, side=80, augmentation=Augmentation(rotate=True, flip=True))
    seen = spy_on_training(monkeypatch)
    train(small_rsan(), images, images[:1], recipe, tmp_path)
    padded = [
        torch.cat([image_tensor(f.image, 80), mask_tensor(f.label, 80)]) for f in images
    ]  # evenly at all sides, so that it may come before the turns
    orientations = [
        turned
        for maps in padded
        for k in range(4)
        for turned in (maps.rot90(k, (1, 2)), maps.rot90(k, (1, 2)).flip(2))
    ]
    found = []
    for example in seen:
        assert {type(x) for x in example} == {torch.Tensor}
        [which] = [n for n, x in enumerate(orientations) if torch.allclose(x, torch.cat(example))]
        found.append(which)
    assert len(found) == 32
    assert {which // 8 for which in found} == {0, 1, 2, 3}
    assert len({which % 8 for which in found}) == 8


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
@pytest.mark.parametrize("recipe", [FAST, SMALL_CROPS], ids=["whole", "crops"])
def test_workers_do_not_change_the_result(tmp_path, images, recipe):
    alone, log = run(tmp_path / "alone", images, recipe)
    shared, shared_log = run(tmp_path / "shared", images, recipe, workers=2)
    assert equal(alone, shared)
    assert log == shared_log


def test_the_rate_that_falls_is_the_one_that_trains(tmp_path, images):
    fallen, _ = run(tmp_path / "a", images, replace(FAST, first_part=0.0))
    low, _ = run(tmp_path / "b", images, replace(FAST, learning_rate=1e-4, first_part=1.0))
    high, _ = run(tmp_path / "c", images, replace(FAST, first_part=1.0))
    assert equal(fallen, low)
    assert not equal(fallen, high)


def test_without_options_it_is_adam_on_cross_entropy(tmp_path, images):
    """The paper's training, written out: bit for bit."""
    torch.manual_seed(0)
    recipe = replace(FAST, epochs=2, first_part=0.5)
    layout = losses.fastest_layout(torch.device("cpu"))
    model = Network("backbone", widths=(4, 8)).build()
    plain = Network("backbone", widths=(4, 8)).build()
    plain.load_state_dict(model.state_dict())
    plain.to(memory_format=layout)
    train(model, images[:4], images[4:], recipe, tmp_path)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    order = loop.Batches(4, recipe, 0, 4, 0, 1)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 1e-3 if step < 2 else 1e-4
        batch = [images[number] for number in order.of_step(step)]
        x = torch.stack([image_tensor(f.image) for f in batch]).contiguous(memory_format=layout)
        y = torch.stack([torch.from_numpy(f.label).float()[None] for f in batch])
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(plain(x), y).backward()
        optimizer.step()
    assert equal(model, plain)


@pytest.mark.parametrize(
    ("device", "bfloat16", "layout"),
    [
        ("cpu", True, torch.channels_last),
        ("cpu", False, torch.contiguous_format),
        ("cuda", False, torch.channels_last),
    ],
)
def test_the_memory_format_follows_from_the_machine(
    tmp_path, images, monkeypatch, device, bfloat16, layout
):
    monkeypatch.setattr(losses, "has_bfloat16", lambda: bfloat16)
    assert losses.fastest_layout(torch.device(device)) == layout
    if device == "cpu":
        model, _ = run(tmp_path, images, replace(FAST, epochs=1))
        convolution = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        assert convolution.weight.is_contiguous(memory_format=layout)


def test_validation_loss_is_of_its_images_in_evaluation(tmp_path, images):
    model, log = run(tmp_path, images, replace(FAST, epochs=1))
    model.eval()
    losses = []
    for fundus in images[4:]:
        target = torch.from_numpy(fundus.label).float()[None, None]
        logits = model(image_tensor(fundus.image)[None])
        losses.append(nn.functional.binary_cross_entropy_with_logits(logits, target).item())
    assert log[0].validation_loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_two_precisions_in_one_process(tmp_path, images):
    exact, _ = run(tmp_path / "a", images)
    mixed, _ = run(tmp_path / "b", images, replace(FAST, precision="bf16"))
    assert not equal(exact, mixed)
    assert {w.dtype for w in mixed.parameters()} == {torch.float32}


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_left_as_they_were(tmp_path, images, training):
    model = small_rsan().train(training)
    before = {name: module.training for name, module in model.named_modules()}
    weights = model.head.weight.clone()
    train(model, images[:2], images[:1], replace(FAST, epochs=1), tmp_path)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert not torch.equal(model.head.weight, weights)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.num_batches_tracked.item() for norm in norms} == {1}  # all of it was trained


def test_frozen_modules_stay_frozen(tmp_path, images):
    model = small_rsan()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    others = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m is not frozen]
    frozen.eval().requires_grad_(False)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    train(model, images[:4], images[4:], FAST, tmp_path)  # with validations between
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    assert not frozen.training
    assert all(m.num_batches_tracked == 6 for m in others)


def test_last_and_best_weights_are_kept(tmp_path, images, monkeypatch):
    states, losses = [], iter([0.5, 0.25, 0.375])
    save = loop.save_weights

    def spy(path, model, settings):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        save(path, model, settings)

    monkeypatch.setattr(loop, "save_weights", spy)
    monkeypatch.setattr(loop.Validation, "__call__", lambda *_: validation.Validated(next(losses)))
    network = Network(widths=(8, 16))
    run(tmp_path, images, network=network, dataset="none")
    last, best = (load_weights(tmp_path / f"{kind}.safetensors") for kind in ("last", "best"))
    # Saved: last 1, best 1, last 2, best 2, last 3.
    assert len(states) == 5
    assert all(torch.equal(v, states[4][k]) for k, v in last.model.state_dict().items())
    assert all(torch.equal(v, states[2][k]) for k, v in best.model.state_dict().items())
    assert (last.settings.about["step"], best.settings.about["step"]) == (6, 4)
    assert best.settings.about["validation_loss"] == 0.25
    assert best.settings.about["dataset"] == "none"
    expected = replace(FAST, steps=6, validate_every=2).as_data()
    assert best.settings.about["recipe"] == json.loads(json.dumps(expected))
    assert (best.settings.network, best.settings.side) == (network, None)
    diameters = sorted(fov_diameter(fundus.fov) for fundus in images[:4])
    assert diameters[0] <= best.settings.fov_diameter <= diameters[-1]
    assert not list(tmp_path.glob("*.partial"))


def test_log_is_written(tmp_path, images):
    _, log = run(tmp_path, images)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == LogEntry._fields
    assert [tuple(map(float, row)) for row in rows[1:]] == log
    assert [entry.step for entry in log] == [2, 4, 6]


def test_the_model_is_left_as_it_was_but_for_its_weights(tmp_path, images):
    model, _ = run(tmp_path, images, replace(FAST, epochs=1))
    assert "forward" not in vars(model)
    assert model.eval()(torch.rand(1, 3, 20, 20)).dtype == torch.float32


# The options of the recipe `crops`, one by one.


def test_averages_are_what_is_validated_and_kept(tmp_path, images, monkeypatch):
    states = []
    update = loop.State.update

    def spy(self):
        update(self)
        states.append({k: v.double().clone() for k, v in self.model.state_dict().items()})

    monkeypatch.setattr(loop.State, "update", spy)
    network = Network(widths=(8, 16))
    recipe = replace(FAST, average=0.8)
    model, log = run(tmp_path, images, recipe, network=network)
    # The mean with weights .8 ** age, which sum to one: the network at the start has no part.
    shares = [0.8 ** (5 - i) for i in range(6)]
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            expected = sum(w * s[name] for w, s in zip(shares, states, strict=True)) / sum(shares)
            torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6, msg=name)
        else:
            assert value == states[-1][name]
    assert equal(load_weights(tmp_path / "last.safetensors").model, model)
    monkeypatch.undo()
    _, plain_log = run(tmp_path / "plain", images)
    assert [e.training_loss for e in log] == [e.training_loss for e in plain_log]
    assert log[-1].validation_loss != plain_log[-1].validation_loss


def test_the_drop_rate_rises_to_the_models_own_and_is_left_there(tmp_path, images, monkeypatch):
    rates, forward = [], Objective.forward

    def spy(self, *batch):
        if self.training:
            [rate] = {m.p for m in self.modules() if isinstance(m, DropBlock2d)}
            rates.append(rate)
        return forward(self, *batch)

    monkeypatch.setattr(Objective, "forward", spy)
    model = rsan(widths=(4, 8), p=0.3)
    train(model, images[:4], images[4:], replace(FAST, ramp=0.5), tmp_path)
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3, 0.3])
    assert {m.p for m in model.modules() if isinstance(m, DropBlock2d)} == {0.3}
    monkeypatch.undo()
    # A network without DropBlock has nothing to ramp.
    plain = Network("backbone", widths=(4, 8)).build()
    train(plain, images[:4], images[4:], replace(FAST, ramp=0.5), tmp_path / "plain")


def test_a_stop_in_the_ramp_leaves_the_models_own_rate(tmp_path, images):
    model = rsan(widths=(4, 8), p=0.3)
    train(model, images[:4], images[4:], replace(FAST, ramp=1.0), tmp_path, max_time=1e-9)
    assert {m.p for m in model.modules() if isinstance(m, DropBlock2d)} == {0.3}


def test_the_bias_is_calibrated_on_training_and_validation_images(tmp_path, images, capsys):
    network = Network("backbone", widths=(4, 8))
    recipe = replace(FAST, epochs=12, learning_rate=1e-2)
    results = {}
    for calibrate in (False, True):
        torch.manual_seed(0)
        model, folder = network.build(), tmp_path / f"{calibrate}"
        train(model, images[:4], images[4:], replace(recipe, calibrate=calibrate), folder,
              network=network)  # fmt: skip
        results[calibrate] = model, load_weights(folder / "last.safetensors").settings.about
        said = capsys.readouterr().err  # the network is still unsure after so few steps
        assert ("changes the sensitivity from" in said) is calibrate
    (plain, plain_about), (shifted, about) = results[False], results[True]
    assert plain_about["bias_shift"] == 0
    maps = [vessel_probability(plain, f.image) for f in images]
    labels, fovs = ([getattr(f, name) for f in images] for name in ("label", "fov"))
    threshold = best_threshold(maps, labels, masks=fovs)
    assert threshold != 0.5
    assert threshold != best_threshold(maps[4:], labels[4:], masks=fovs[4:])
    each = [
        best_threshold([probability], [label], masks=[fov])
        for probability, label, fov in zip(maps, labels, fovs, strict=True)
    ]
    shifts = np.log((1 - np.array(each)) / each)
    assert about["bias_shift_spread"] == pytest.approx(np.std(shifts, ddof=1))
    assert about["bias_shift_images"] == len(images)
    assert about["bias_shift"] == pytest.approx(np.log((1 - threshold) / threshold))
    difference = (shifted.head.bias - plain.head.bias).item()
    assert difference == pytest.approx(about["bias_shift"], abs=1e-5)
    weights = {k: v for k, v in plain.state_dict().items() if k != "head.bias"}
    assert all(torch.equal(v, shifted.state_dict()[k]) for k, v in weights.items())
    moved = [vessel_probability(shifted, f.image) for f in images]
    for before, after in zip(maps, moved, strict=True):
        assert np.mean((before > threshold) != (after > 0.5)) < 1e-3


def test_weight_decay_acts_on_matrices_only_and_norms_are_clipped(tmp_path, images, monkeypatch):
    norms, update = [], loop.State.update

    def spy(self):
        grads = [w.grad for w in self.model.parameters()]
        norms.append(torch.linalg.vector_norm(torch.cat([g.flatten() for g in grads])).item())
        update(self)

    monkeypatch.setattr(loop.State, "update", spy)
    run(tmp_path / "a", images)
    assert max(norms) > 0.05
    norms.clear()
    run(tmp_path / "b", images, replace(FAST, max_norm=0.05))
    assert max(norms) == pytest.approx(0.05, rel=1e-3)
    state = loop.State(small_rsan(), replace(FAST, weight_decay=0.01), 6)
    decays = {
        weights.dim(): group["weight_decay"]
        for group in state.optimizer.param_groups
        for weights in group["params"]
    }
    assert decays == {4: 0.01, 1: 0.0}
    assert isinstance(state.optimizer, torch.optim.AdamW)


@pytest.mark.parametrize("name", ["dice", "cl_dice"])
def test_dice_losses_are_added(name):
    torch.manual_seed(0)
    images, targets = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.8).float()
    model = nn.Conv2d(3, 1, 3, padding=1)
    layout = torch.contiguous_format
    recipe = replace(FAST, cl_dice_iterations=3)
    plain, logits = Objective(model, recipe, layout)(images, targets)
    more = [
        Objective(model, replace(recipe, **{name: weight}), layout)(images, targets)[0] - plain
        for weight in (1.0, 2.0)
    ]
    more = [one.item() for one in more]
    assert 0 < more[0] <= 1
    assert more[1] == pytest.approx(2 * more[0], rel=1e-4)
    if name == "dice":
        p = logits.sigmoid()
        axes = (1, 2, 3)
        dice = 2 * (p * targets).sum(axes) / (p.sum(axes) + targets.sum(axes))
        assert more[0] == pytest.approx(1 - dice.mean().item(), abs=1e-4)


@pytest.mark.parametrize("recipe", [FAST, SMALL_CROPS], ids=["whole", "crops"])
def test_auxiliary_targets_are_mixed_into_the_target(tmp_path, images, monkeypatch, recipe):
    hints = {f.name: np.full(f.fov.shape, 0.5, np.float32) for f in images[:4]}
    seen = spy_on_training(monkeypatch)
    still = replace(recipe, crops=None if recipe.crops is None else Crops(side=24, free=0))
    run(tmp_path / "plain", images, still)
    plain, seen[:] = seen.copy(), []
    run(tmp_path / "mixed", images, replace(still, auxiliary=0.4), auxiliary=hints)
    for (image, target), (same, mixed) in zip(plain, seen, strict=True):
        assert torch.equal(image, same)
        inside = same[0] > 0.02  # crops are padded with zeros
        torch.testing.assert_close(mixed[0][inside], (0.6 * target + 0.2)[0][inside])


def test_auxiliary_targets_are_checked(tmp_path, images):
    hints = {f.name: np.full(f.fov.shape, 0.5, np.float32) for f in images[:4]}
    mixed = replace(FAST, auxiliary=0.4)
    for recipe, given, message in (
        (FAST, hints, "auxiliary must be given if recipe.auxiliary is above 0, and only then"),
        (mixed, None, r"and only then; recipe.auxiliary is 0.4"),
        (mixed, {"x": hints[images[0].name]}, "must have a map of image synthetic-0000"),
        (mixed, {**hints, images[1].name: np.zeros((3, 3))}, r"shape \(64, 64\).*got shape \(3, 3"),
        (mixed, {**hints, images[1].name: 3 * hints[images[0].name]}, r"values in \[0, 1\], got"),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, images, recipe, auxiliary=given)


def test_images_are_scaled_and_the_weights_say_so(tmp_path, images, monkeypatch):
    seen = spy_on_training(monkeypatch)
    network = Network(widths=(8, 16))
    run(tmp_path / "a", images, replace(FAST, input_scale=0.5), network=network)
    assert {image.shape for image, _ in seen} == {(3, 32, 32)}
    image, target = seen[0]
    assert any(
        abs(image_tensor(f.image).mean() - image.mean()) < 1e-3
        and abs(f.label.mean() - target.mean()) < 1e-3
        for f in images[:4]
    )
    run(tmp_path / "b", images, network=network)
    diameters = [
        load_weights(tmp_path / folder / "last.safetensors").settings.fov_diameter
        for folder in "ab"
    ]
    assert diameters[0] == pytest.approx(diameters[1] / 2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.4])
def test_segment_gives_what_the_validation_saw(tmp_path, images, monkeypatch, scale):
    """With the saved weights: resized, padded and calibrated alike."""
    seen, resized = [], validation.resized_map

    def keep(*given):
        seen.append(resized(*given))
        return seen[-1]

    monkeypatch.setattr(validation, "resized_map", keep)
    network = Network("backbone", widths=(4, 8))
    torch.manual_seed(0)
    recipe = replace(FAST, input_scale=scale, side=96, calibrate=True, learning_rate=1e-2)
    same = [replace(f, fov=images[0].fov) for f in images]  # of one diameter
    train(network.build(), same[:4], same[4:], recipe, tmp_path, network=network)
    trained = load_weights(tmp_path / "last.safetensors")
    shift = trained.settings.about["bias_shift"]
    last = seen[-len(same) :]  # of the last validation: first the validation images
    for fundus, [before] in zip([*same[4:], *same[:4]], last, strict=True):
        expected = torch.logit(before.double(), eps=1e-6)
        got = torch.from_numpy(segment(fundus.image, trained, fov=fundus.fov))
        if scale == 1:
            expected = torch.sigmoid(expected + shift).float()
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
        else:  # the shift comes before the map is resized
            trained.model.head.bias.data -= shift
            got = torch.from_numpy(segment(fundus.image, trained, fov=fundus.fov))
            trained.model.head.bias.data += shift
            torch.testing.assert_close(got, before, rtol=0, atol=1e-5)


# What it refuses.


def test_refuses_what_is_of_another_type(tmp_path, images):
    for given, message in (
        ({"recipe": "crops"}, "train: recipe must be a Recipe, got str"),
        ({"model": "rsan"}, "train: model must be a Module, got str"),
        ({"network": "rsan"}, "train: network must be a Network or None, got str"),
        ({"dataset": 3}, "train: dataset must be a str, got int"),
        ({"workers": 1.5}, "train: workers must be an int, got 1.5"),
        ({"max_time": "5"}, "train: max_time must be a number, got '5'"),
    ):
        arguments = {"model": small_rsan(), "recipe": FAST} | given
        with pytest.raises(TypeError, match=message):
            train(training=images[:4], validation=images[4:], folder=tmp_path, **arguments)
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        run(tmp_path, images, workers=-1)
    with pytest.raises(ValueError, match=r"network must describe model, got unet .* such as enc"):
        run(tmp_path, images, network=Network("unet", widths=(8, 16)))
    with pytest.raises(ValueError, match=r"must describe model, got rsan of widths \(4, 8\)"):
        run(tmp_path, images, network=Network("rsan", widths=(4, 8)))
    with pytest.raises(ValueError, match="different names, got synthetic-0000 more than once"):
        run(tmp_path, [images[0], images[0], *images[2:]])
    assert not list(tmp_path.iterdir())


def test_rotation_needs_squares(tmp_path):
    lying = [drawn(seed, 64, 72) for seed in range(2)]
    recipe = replace(FAST, augmentation=Augmentation(rotate=True))
    with pytest.raises(
        ValueError, match=r"rotate, images must be square .* images of shape \(64, 72\)"
    ):
        train(small_rsan(), lying, lying, recipe, tmp_path)


def test_sizes_that_differ_are_padded_or_cropped_to_one(tmp_path):
    given = [drawn(0, 64, 66), drawn(1, 70, 64)]
    train(small_rsan(), given, given, replace(FAST, epochs=1, side=72), tmp_path / "padded")
    train(small_rsan(), given, given, SMALL_CROPS, tmp_path / "cropped")
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


def test_refuses_empty_fields_of_view_and_images_without_vessels(tmp_path, images):
    blind = replace(images[0], fov=np.zeros_like(images[0].fov))
    with pytest.raises(ValueError, match="field of view of training image synthetic-0000 is empty"):
        train(small_rsan(), [blind], images, FAST, tmp_path)
    bare = replace(images[0], label=np.zeros_like(images[0].label))
    with pytest.raises(ValueError, match="training or validation must have vessels in the field"):
        train(small_rsan(), [bare], [bare], SMALL_CROPS, tmp_path)
    with pytest.raises(ValueError, match=r"calibrate, model must have head\.bias"):
        train(nn.Conv2d(3, 1, 1), images, images, SMALL_CROPS, tmp_path)


def test_refuses_files_that_are_not_read(tmp_path, images):
    files = FundusFiles("1", tmp_path / "1.png", None, None, None)
    with pytest.raises(TypeError, match=r"training must hold Fundus, got FundusFiles\. Files must"):
        run(tmp_path, [files, *images[1:]])


def test_refuses_a_side_below_an_images(tmp_path, images):
    with pytest.raises(
        ValueError, match=r"at least 64, the longer side of training image synthetic-0000, got 60"
    ):
        run(tmp_path, images, replace(FAST, side=60))


class Levels(nn.Module):
    """A network that returns several logits, as for deep supervision."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, x):
        return [self.conv(x), self.conv(x[..., ::2, ::2])]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: rsan(3, 3, widths=(4, 8)), r"return one logit .* it returned \(1, 3, 64, 64\)"),
        (lambda: rsan(1, 1, widths=(4, 8)), r"take images of shape \(N, 3, 64, 64\), in colour"),
        (Levels, "return one logit per pixel, .* it returned list"),
        (lambda: nn.Conv2d(3, 1, 3), r"return .*it returned \(1, 1, 62, 62\)"),
    ],
    ids=["three classes", "grey", "levels", "smaller"],
)
@pytest.mark.parametrize("recipe", [FAST, replace(SMALL_CROPS, crops=Crops(side=64))])
def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, model, message, recipe
):
    recipe = replace(recipe, calibrate=False)
    images = [drawn(seed, 64, 64) for seed in range(3)]
    with pytest.raises(ValueError, match=f"^train: model must {message}"):
        train(model(), images[:2], images[2:], recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_looking_at_a_model_changes_nothing_of_it():
    model = small_rsan()
    model.eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    check_model(model, (3, 32, 32), torch.device("cpu"))
    model.train()
    check_model(model, (3, 32, 32), torch.device("cpu"))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
