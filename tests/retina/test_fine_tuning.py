"""Trainings that start from trained weights, are made longer, or have another's settings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import FAST, SMALL_CROPS, drawn, equal, run, small_rsan

from torchattn_blocks.retina import (
    CAMERAS_RECIPE,
    CROPS_RECIPE,
    Augmentation,
    Network,
    Recipe,
    Settings,
    load_weights,
    save_weights,
)
from torchattn_blocks.retina.weights import trained_on

ARGUMENTS = ["--dataset", "folder", "--recipe", "crops", "--batch-size", 1, "--precision", "no"]


@pytest.fixture(scope="module")
def eyes():
    return [drawn(seed, 64, 64) for seed in range(6)]


@pytest.fixture
def tuned(command, images, tmp_path):
    """Run `train` on the images from weights of a small network; what it says, and its folder."""
    network = Network(widths=(4, 8), p=0.1)
    torch.manual_seed(3)
    about = {"dataset": "drive", "pretrained": {"dataset": "hrf"}}
    start = tmp_path / "start.safetensors"
    save_weights(start, network.build(), Settings(network, 48.0, about=about))

    def run(*options, steps=2, out="out"):
        said = command("train", "--data", images, *ARGUMENTS, "--pretrained", start,
                       "--steps", steps, *options, "--out", tmp_path / out)  # fmt: skip
        return said, tmp_path / out

    return run


def weights_of(folder, name="last"):
    return load_weights(folder / f"{name}.safetensors")


def test_training_starts_from_the_weights_and_says_so(tuned, tmp_path):
    said, out = tuned("--learning-rate", 1e-9, steps=1)
    before = load_weights(tmp_path / "start.safetensors")
    after = weights_of(out)
    for name, values in before.model.named_parameters():
        if name != "head.bias":  # the shift
            torch.testing.assert_close(dict(after.model.named_parameters())[name], values)
    record = json.loads((out / "run.json").read_text())
    start = str(tmp_path / "start.safetensors")
    assert record["pretrained"]["weights"] == start
    assert record["pretrained"]["dataset"] == "drive+hrf"
    assert (record["pretrained"]["fov_diameter"], record["pretrained"]["freeze"]) == (48.0, [])
    assert record["recipe"]["learning_rate"] == 1e-9
    assert after.settings.about["pretrained"] == record["pretrained"]
    assert trained_on(after.settings) == ["folder", "drive", "hrf"]
    # At the diameter and with the drop rate of the weights.
    assert after.settings.fov_diameter == record["recipe"]["fov_diameter"] == 48.0
    assert after.settings.network == before.settings.network
    assert "resized by 0.77" in said


def test_shipped_weights_are_known_by_name(command, images, tmp_path):
    command("train", "--data", images, *ARGUMENTS, "--pretrained", "drive", "--steps", 1,
            "--fov-diameter", 62, "--out", tmp_path)  # fmt: skip
    settings = weights_of(tmp_path).settings
    assert settings.about["pretrained"]["weights"] == "drive"
    assert settings.fov_diameter == 62.0
    assert trained_on(settings) == ["folder", "drive"]


def test_options_change_drops_and_scale(tuned):
    _, out = tuned("--p", 0.3, "--input-scale", 0.5)
    settings = weights_of(out).settings
    assert settings.network.p == 0.3
    assert settings.about["recipe"]["input_scale"] == 0.5
    assert settings.about["recipe"]["fov_diameter"] is None


@pytest.mark.parametrize(
    "options", [["--model", "unet"], ["--widths", 4, 16], ["--attention", "cbam"]]
)
def test_the_network_is_that_of_the_weights(tuned, options):
    with pytest.raises(SystemExit, match=r"--pretrained .* is a network rsan of widths \(4, 8\)"):
        tuned(*options)


def test_frozen_parts_stay_as_they_are(tuned, tmp_path):
    _, out = tuned("--freeze", "encoders", "bottleneck.*", "--learning-rate", 0.1)
    before = load_weights(tmp_path / "start.safetensors").model.state_dict()
    after = weights_of(out).model.state_dict()
    stays = {n for n, values in before.items() if torch.equal(values, after[n])}
    wanted = {n for n in before if n.startswith(("encoders.", "bottleneck."))}
    assert any(n.endswith("running_mean") for n in wanted)
    assert wanted <= stays
    assert not any(n.endswith("weight") and n.startswith("decoders") for n in stays)
    record = json.loads((out / "run.json").read_text())
    assert record["pretrained"]["freeze"] == ["encoders", "bottleneck.*"]
    assert set(record["model"]["frozen"]) >= {n for n in wanted if n.endswith(("weight", "bias"))}


def test_a_frozen_training_is_resumed_to_the_same_weights(tuned):
    options = ["--freeze", "encoders"]
    _, whole = tuned(*options, steps=4, out="whole")
    tuned(*options, "--max-time", "0", steps=4, out="part")
    _, part = tuned(*options, "--resume", steps=4, out="part")
    assert equal(weights_of(whole).model, weights_of(part).model)
    with pytest.raises(SystemExit, match=r"holds another run: model\.frozen was"):
        tuned("--freeze", "bottleneck", "--resume", steps=4, out="part")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "encoder"], "nearest names are: encoders"),
        (["--freeze", "**"], r"--freeze \*\* leaves no weight to be trained"),
        (["--fov-diameter", 0], "--fov-diameter must be above 0 and finite, got 0"),
        (["--fov-diameter", 60, "--input-scale", 2], "either --input-scale or --fov-diameter"),
        (["--learning-rate", 0], "learning_rate must be above 0 and finite, got 0"),
        (["--epochs", 2], "pass either --epochs or --steps"),
        (["--validate-every", 0], "validate_every must be at least 1, got 0"),
    ],
)
def test_what_is_refused(tuned, options, message):
    with pytest.raises(SystemExit, match=message):
        tuned(*options)


def test_freezing_needs_trained_weights(command, images, tmp_path):
    with pytest.raises(SystemExit, match="--freeze needs --pretrained: other weights are random"):
        command("train", "--data", images, *ARGUMENTS, "--freeze", "encoders", "--steps", 1,
                "--out", tmp_path)  # fmt: skip
    command("train", "--data", images, *ARGUMENTS, "--widths", "4,8", "--steps", 1,
            "--out", tmp_path / "a")  # fmt: skip
    with pytest.raises(SystemExit, match="--freeze needs --pretrained"):
        command("train", "--data", images, "--dataset", "folder", "--freeze", "encoders",
                "--steps", 1, "--config", tmp_path / "a" / "run.json",
                "--out", tmp_path / "b")  # fmt: skip


def test_weights_that_are_not_there(command, images, tmp_path):
    with pytest.raises(SystemExit, match=r"none\.safetensors: this weights file does not exist"):
        command("train", "--data", images, *ARGUMENTS, "--pretrained", "none.safetensors",
                "--out", tmp_path)  # fmt: skip


def test_weights_are_known_by_their_contents(tuned, tmp_path, monkeypatch):
    """A file by another path is the same; another file by the same path is not."""
    _, out = tuned("--max-time", "0")
    text = (out / "run.json").read_text()
    start = tmp_path / "start.safetensors"
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(start.read_bytes())
    tuned("--pretrained", moved, "--resume")
    network = Network(widths=(4, 8), p=0.1)
    save_weights(start, network.build(), Settings(network, 48.0))
    (out / "run.json").write_text(text)
    with pytest.raises(SystemExit, match=r"holds another run: pretrained\.sha256 was"):
        tuned("--resume")


def test_a_config_says_if_its_weights_have_changed(command, tuned, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuned("--max-time", "0", out="first")  # writes the weights
    _, out = tuned("--pretrained", "start.safetensors")
    monkeypatch.chdir(out)  # its path is recorded in full
    data = ["--data", images, "--dataset", "folder", "--config", out / "run.json"]
    command("train", *data, "--out", tmp_path / "same")
    network = Network(widths=(4, 8), p=0.1)
    start = tmp_path / "start.safetensors"
    save_weights(start, network.build(), Settings(network, 48.0))
    with pytest.raises(SystemExit, match="holds other weights than those"):
        command("train", *data, "--out", tmp_path / "other")
    command("train", *data, "--pretrained", start, "--out", tmp_path / "other")


# Longer trainings.


@pytest.mark.parametrize("recipe", [replace(FAST, epochs=1), SMALL_CROPS], ids=["whole", "crops"])
def test_a_finished_training_may_be_given_more_steps(tmp_path, eyes, recipe):
    steps = recipe.steps_for(4)
    run(tmp_path, eyes, recipe)
    longer = replace(recipe, steps=2 * steps)
    _, log = run(tmp_path, eyes, longer, resume=True)
    assert log[-1].step == 2 * steps
    assert [entry.step for entry in log] == sorted({entry.step for entry in log})
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"]["steps"] == 2 * steps
    assert record["notes"]["earlier_ends"] == [steps]
    run(tmp_path, eyes, replace(recipe, steps=3 * steps), resume=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["notes"]["earlier_ends"] == [steps, 2 * steps]


def test_a_training_too_short_for_a_ramp_becomes_one_with_it(tmp_path, eyes):
    short = replace(SMALL_CROPS, steps=1, ramp=0.5)
    run(tmp_path, eyes, short)
    _, log = run(tmp_path, eyes, replace(short, steps=8), resume=True)
    assert log[-1].step == 8
    state = torch.load(tmp_path / "checkpoint-8.pt")
    assert state["ramp"]["step"] == 8


def test_the_longer_part_can_be_stopped_and_resumed(tmp_path, eyes):
    longer = replace(SMALL_CROPS, steps=12)
    for folder, limits in (("whole", [None]), ("part", [1e-3, None])):
        run(tmp_path / folder, eyes, SMALL_CROPS)
        for limit in limits:
            run(tmp_path / folder, eyes, longer, resume=True, max_time=limit)
    models = [torch.load(tmp_path / f / "checkpoint-12.pt") for f in ("whole", "part")]
    for name, values in models[0]["model"].items():
        assert torch.equal(values, models[1]["model"][name])
    texts = [(tmp_path / f / "log.csv").read_text() for f in ("whole", "part")]
    assert texts[0] == texts[1]


def test_its_learning_rate_is_that_of_the_longer_training(tmp_path, eyes, monkeypatch):
    recipe = replace(SMALL_CROPS, validate_every=6)
    run(tmp_path, eyes, recipe)
    asked = []
    rate = Recipe.learning_rate_at
    monkeypatch.setattr(
        Recipe, "learning_rate_at", lambda *given: asked.append(given[1:]) or rate(*given)
    )
    run(tmp_path, eyes, replace(recipe, steps=9), resume=True)
    assert sorted({*asked}) == [(6, 9), (7, 9), (8, 9)]


def test_a_training_that_is_not_finished_stays_as_long(tmp_path, eyes):
    run(tmp_path, eyes, SMALL_CROPS, max_time=1e-3)
    with pytest.raises(ValueError, match=r"steps was 6, got 9.*more steps once it is finished"):
        run(tmp_path, eyes, replace(SMALL_CROPS, steps=9), resume=True)


def test_a_finished_training_does_not_become_shorter_or_another(tmp_path, eyes):
    run(tmp_path, eyes, SMALL_CROPS)
    before = (tmp_path / "run.json").read_bytes()
    for other in ({"steps": 4}, {"steps": 9, "learning_rate": 1e-2}):
        with pytest.raises(ValueError, match="holds another run: recipe"):
            run(tmp_path, eyes, replace(SMALL_CROPS, **other), resume=True)
    assert (tmp_path / "run.json").read_bytes() == before


def test_the_command_makes_a_run_longer(tuned):
    tuned()
    said, out = tuned("--resume", steps=5)
    assert "Trained for 5 steps" in said
    assert (out / "log.csv").read_text().splitlines()[-1].startswith("5,")


# Settings of another training.


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        CROPS_RECIPE,
        CAMERAS_RECIPE,
        Recipe(augmentation=Augmentation(flip=True, gamma=0.1), side=64, input_scale=0.5),
        replace(CROPS_RECIPE, shares={"a": 1.0}, fov_diameter=500.0, cl_dice=0.5),
    ],
)
def test_a_recipe_comes_back_from_its_record(recipe):
    assert Recipe.from_data(json.loads(json.dumps(recipe.as_data()))) == recipe


def test_a_run_with_the_settings_of_another_ends_with_the_same_weights(command, tuned, images):
    _, first = tuned("--freeze", "encoders", "--gamma", "exact", "--seed", 4, "--dice", 0.5)
    out = first.parent / "again"
    data = ["--data", images, "--dataset", "folder"]
    command("train", *data, "--config", first / "run.json", "--out", out)
    assert equal(weights_of(first).model, weights_of(out).model)
    records = [json.loads((folder / "run.json").read_text()) for folder in (first, out)]
    assert records[0] == records[1]


def test_options_change_the_settings_of_another(command, tuned, images):
    _, first = tuned("--seed", 4)
    out = first.parent / "again"
    data = ["--data", images, "--dataset", "folder"]
    options = ["--seed", 0, "--steps", 1, "--p", 0.2, "--dice", 0.1, "--input-scale", 0.5]
    command("train", *data, "--config", first / "run.json", *options, "--out", out)
    settings = weights_of(out).settings
    recipe = Recipe.from_data(settings.about["recipe"])
    before = Recipe.from_data(weights_of(first).settings.about["recipe"])
    changes = {"seed": 0, "steps": 1, "dice": 0.1, "input_scale": 0.5, "fov_diameter": None}
    assert recipe == replace(before, **changes)
    assert settings.network.p == 0.2


def test_the_settings_of_a_training_on_whole_images(command, images, tmp_path):
    data = ["--data", images, "--dataset", "folder", "--precision", "no"]
    command("train", *data, "--widths", "4,8", "--model", "unet", "--epochs", 1,
            "--input-scale", 0.5, "--augment", "--out", tmp_path / "a")  # fmt: skip
    command("train", *data, "--config", tmp_path / "a" / "run.json", "--out", tmp_path / "b")
    command("train", *data, "--config", tmp_path / "a" / "run.json", "--input-scale", 1,
            "--epochs", 2, "--out", tmp_path / "c")  # fmt: skip
    a, b, c = (json.loads((tmp_path / f / "run.json").read_text()) for f in "abc")
    assert a == b
    assert a["recipe"]["side"] == 40
    assert (c["recipe"]["side"], c["recipe"]["steps"]) == (72, 2 * a["recipe"]["steps"])


def test_auxiliary_targets_and_shares_of_another_run(command, images, tmp_path):
    data = ["--data", images, "--dataset", "folder", "--precision", "no", "--widths", "4,8"]
    maps = ["--auxiliary", images / "labels"]
    crops = ["--recipe", "crops", "--steps", 1, "--batch-size", 1, "--shares", 2]
    command("train", *data, *crops, *maps, "--auxiliary-share", 0.2, "--cl-dice", 0.1,
            "--out", tmp_path / "a")  # fmt: skip
    config = ["--config", tmp_path / "a" / "run.json"]
    command("train", *data, *config, *maps, "--out", tmp_path / "b")
    a, b = (json.loads((tmp_path / f / "run.json").read_text())["recipe"] for f in "ab")
    assert a == b
    assert b["auxiliary"] == 0.2
    # Iterations that are too few for these images are computed anew.
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    record["recipe"]["cl_dice_iterations"] = 0
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    command("train", *data, *config, *maps, "--out", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "run.json").read_text())["recipe"] == a
    with pytest.raises(SystemExit, match="has auxiliary targets: pass --auxiliary"):
        command("train", *data, *config, "--out", tmp_path / "c")
    both = ["--data", images, tmp_path / "link", "--dataset", "folder"]
    (tmp_path / "link").symlink_to(images)
    with pytest.raises(SystemExit, match="--shares must have a number for each of"):
        command("train", *both, *config, *maps, "--out", tmp_path / "c")


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"model": {}, "recipe": {"x": 1}}'])
def test_what_is_no_record(command, images, tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    arguments = ["train", "--data", images, "--dataset", "folder", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match=r"run\.json: must be the run\.json of a training"):
        command(*arguments, "--config", path)
    with pytest.raises(SystemExit, match=r"none\.json: this file does not exist"):
        command(*arguments, "--config", tmp_path / "none.json")
    with pytest.raises(SystemExit, match="pass either --recipe or --config"):
        command(*arguments, "--config", path, "--recipe", "crops")


def test_what_was_known_of_the_weights_is_a_mapping(tmp_path, eyes):
    with pytest.raises(TypeError, match="pretrained must be a Mapping or None, got str"):
        run(tmp_path, eyes, pretrained="drive")
    run(tmp_path, eyes, pretrained={"weights": "mine"}, network=Network(widths=(8, 16)))
    about = weights_of(tmp_path).settings.about
    assert about["pretrained"] == {"weights": "mine"}
    assert np.isfinite(about["auc"])
    assert small_rsan().training
