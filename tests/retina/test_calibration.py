"""Calibrating weights on labelled images, in Python and as a command."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from torchattn_blocks.retina import (
    Fundus,
    FundusFiles,
    Network,
    Settings,
    Trained,
    best_threshold,
    calibrate,
    list_csv,
    list_folder,
    load_pretrained,
    load_weights,
    save_weights,
    segment,
)
from torchattn_blocks.retina.commands.evaluate import _shift_leak


@pytest.fixture
def trained():
    torch.manual_seed(0)
    network = Network("backbone", widths=(4, 8))
    model = network.build().eval()
    model.head.bias.data -= 0.4
    return Trained(
        model, Settings(network, 60, about={"dataset": "drive", "bias_shift": 0.25, "f1": 0.8})
    )


@pytest.fixture
def weights(trained, tmp_path):
    save_weights(tmp_path / "w.safetensors", *trained)
    return tmp_path / "w.safetensors"


@pytest.fixture
def eyes(images):
    """Images whose field of view is cut, and which are all vessel outside of it."""
    cut = np.arange(72) < 40
    read = [files.read() for files in list_folder(images)[:4]]
    return [replace(one, fov=one.fov & cut, label=one.label | ~cut) for one in read]


def expected(trained, eyes, **how):
    maps = [segment(eye.image, trained, fov=eye.fov, **how) for eye in eyes]
    return best_threshold(maps, [e.label for e in eyes], masks=[e.fov for e in eyes])


@pytest.mark.parametrize("how", [{}, {"flips": True}, {"fov_diameter": 90.0}])
def test_the_best_threshold_becomes_a_half(trained, eyes, how):
    before = copy.deepcopy(trained.model.state_dict())
    calibrated, choice = calibrate(trained, iter(eyes), **how)
    assert choice.threshold == expected(trained, eyes, **how) != 0.5
    assert choice.images == 4
    assert abs(expected(calibrated, eyes, **how) - 0.5) <= 0.01
    after = calibrated.model.state_dict()
    assert (after.pop("head.bias") - before["head.bias"]).item() == pytest.approx(choice.shift)
    assert all(torch.equal(before[name], values) for name, values in after.items())
    assert all(torch.equal(v, before[k]) for k, v in trained.model.state_dict().items())
    about = calibrated.settings.about
    assert "f1" not in about  # it was the score before the shift
    assert about["calibrated_on"]["fov_diameter"] == how.get("fov_diameter")
    assert about["bias_shift"] == pytest.approx(0.25 + choice.shift)
    assert about["bias_shift_spread"] == choice.spread
    assert about["calibrated_on"]["images"] == [eye.name for eye in eyes]
    assert about["dataset"] == "drive"


def test_what_the_function_refuses(trained, eyes):
    def bare(label):
        return Fundus("bare", eyes[0].image, label, eyes[0].fov)

    with pytest.raises(TypeError, match=r"calibrate: trained must be Trained, got UNet\. Pass"):
        calibrate(trained.model, eyes)
    with pytest.raises(TypeError, match="calibrate: images must be a Fundus, got str"):
        calibrate(trained, ["a.png"])
    with pytest.raises(ValueError, match="every image must have a label; missing: bare"):
        calibrate(trained, [*eyes, bare(None)])
    empty = bare(np.zeros_like(eyes[0].fov))
    with pytest.raises(ValueError, match=r"images must hold vessels .* got none in 2 images"):
        calibrate(trained, [empty, empty])
    broken = copy.deepcopy(trained)
    broken.model.head.bias.data *= np.nan
    with pytest.raises(ValueError, match=f"finite probabilities, not for {eyes[0].name}"):
        calibrate(broken, eyes)
    blind = copy.deepcopy(trained)
    blind.model.head.bias.data -= 20
    with pytest.raises(ValueError, match=r"probability above 0\.01, got none"):
        calibrate(blind, eyes)
    with pytest.raises(ValueError, match="got none in 0 images"):
        calibrate(trained, [])
    with pytest.raises(ValueError, match="fov_diameter must be above 0"):
        calibrate(trained, eyes, fov_diameter=-1.0)


@pytest.mark.parametrize(
    ("options", "how"),
    [([], {}), (["--flips"], {"flips": True}), (["--fov-diameter", 90], {"fov_diameter": 90.0})],
)
def test_the_command_does_the_same(command, images, trained, weights, tmp_path, options, how):
    out, table = tmp_path / "new" / "mine.safetensors", tmp_path / "mine.csv"
    files = list_folder(images)[:9]
    rows = [f"{one.image},{one.label},{one.fov}" for one in files[:8]]
    rows.append(f"{files[8].image},,{files[8].fov}")  # an image without a label has no say
    table.write_text("\n".join(["image,label,mask", *rows]))
    data = ["--data", table, "--dataset", "csv"]
    every = [one.read() for one in list_csv(table)[:8]]
    said = command("calibrate", *data, "--weights", weights, "--out", out, *options)
    calibrated, choice = calibrate(trained, every, **how)
    written = load_weights(out)
    assert torch.equal(written.model.head.bias, calibrated.model.head.bias)
    about = {**calibrated.settings.about}
    about["calibrated_on"] = {**about["calibrated_on"], "dataset": "csv"}
    assert written.settings.about == about
    few = "Fewer than 10 images: the best threshold for others may be another."
    none_left = "All images choose the shift: none is left for evaluate to score."
    assert said.splitlines() == [none_left, choice.said(), few, f"Saved weights in {out}"]
    assert written.settings.about["calibrated_on"]["flips"] is how.get("flips", False)
    again = command("calibrate", *data, "--weights", out, "--out", out, *options)
    assert "Shift of the output bias +0.00" in again.replace("-0.00", "+0.00")


def test_a_threshold_at_the_end_of_the_range_takes_two_calibrations(
    command, images, trained, tmp_path, capsys
):
    trained.model.head.bias.data -= 4
    out = tmp_path / "w.safetensors"
    save_weights(out, *trained)
    ends = "The best threshold is at the end of .01 to .99. Calibrate the new weights again."
    assert ends in command("calibrate", "--data", images, "--weights", out, "--out", out)
    assert ends not in command("calibrate", "--data", images, "--weights", out, "--out", out)


def test_images_in_a_test_folder_do_not_choose(command, weights, images, tmp_path, capsys):
    root = tmp_path / "mine"
    for files, part in zip(list_folder(images)[:4], ("training", "test") * 2, strict=True):
        for kind, path in (("images", files.image), ("labels", files.label)):
            place = root / part / kind / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    out = tmp_path / "mine.safetensors"
    said = command("calibrate", "--data", root, "--weights", weights, "--out", out)
    on = load_weights(out).settings.about["calibrated_on"]["images"]
    assert on == ["training/synthetic-0000", "training/synthetic-0002"]
    assert "Fewer than 10 images" in said


def test_evaluate_says_if_scored_images_chose_the_shift(command, weights, images, tmp_path):
    out, data = tmp_path / "mine.safetensors", ["--data", images, "--dataset", "folder"]
    command("calibrate", *data, "--weights", weights, "--out", out)
    scores = ["--no-pictures", "--out", tmp_path / "scores"]
    said = command("evaluate", *data, "--weights", out, *scores)
    names = "synthetic-0004, synthetic-0009"
    leak = f"images with the names of scored images chose the shift of the output bias: {names}"
    assert leak in said.splitlines()
    assert json.loads((tmp_path / "scores" / "report.json").read_text())["leak"] == leak
    assert "chose the shift" not in command("evaluate", *data, "--weights", weights, *scores)
    on_drive = Settings(Network("backbone", widths=(4, 8)), 60, about={})
    # Of a folder, or of what Python's calibrate was given, only the names are known.
    for dataset, is_said in (("drive", True), ("", True)):
        about = {"calibrated_on": {"dataset": dataset, "images": ["synthetic-0004"]}}
        save_weights(out, load_weights(weights).model, Settings(on_drive.network, 60, about=about))
        said = command("evaluate", *data, "--weights", out, *scores, "--part", "all")
        assert ("chose the shift" in said) is is_said
        leak = json.loads((tmp_path / "scores" / "report.json").read_text())["leak"]
        assert "images that were trained on may be scored too" in leak
        assert ("chose the shift" in leak) is is_said


@pytest.mark.parametrize(
    ("calibrated_on", "scored_as", "said"),
    [
        ("drive", "drive", "scored images chose"),
        ("drive", "stare", None),
        ("drive", "folder", "images with the names of scored images chose"),
        ("folder", "drive", "images with the names of scored images chose"),
        ("", "chase_db1", "images with the names of scored images chose"),
    ],
)
def test_only_named_data_sets_tell_images_apart(trained, calibrated_on, scored_as, said):
    on = {"calibrated_on": {"dataset": calibrated_on, "images": ["01", "02"]}}
    of = Trained(trained.model, replace(trained.settings, about=on))
    files = [FundusFiles(name, Path(), None, None, None) for name in ("02", "03")]
    found = _shift_leak(of, scored_as, files)
    assert found == (said and f"{said} the shift of the output bias: 02")


def test_what_the_command_refuses(command, images, weights, tmp_path):
    def refused(*arguments):
        with pytest.raises(SystemExit) as error:
            command("calibrate", "--weights", weights, *arguments)
        return str(error.value)

    assert "--out must be a file, got the folder" in refused("--data", images, "--out", tmp_path)
    assert "does not exist" in refused("--data", tmp_path / "none", "--out", tmp_path / "x")
    bare = tmp_path / "bare" / "images"
    bare.mkdir(parents=True)
    for files in list_folder(images)[:2]:
        (bare / files.image.name).write_bytes(files.image.read_bytes())
    said = refused("--data", bare.parent, "--out", tmp_path / "x")
    assert "no image that may choose a threshold has a vessel mask" in said
    assert not (tmp_path / "x").exists()
    said = refused("--data", images, "--fov-diameter", -1, "--out", tmp_path / "x")
    assert "--fov-diameter must be above 0" in said


def test_of_drive_the_test_images_do_not_choose(command, real_data, tmp_path):
    out = tmp_path / "drive.safetensors"
    said = command("calibrate", "--data", real_data / "DRIVE", "--dataset", "drive", "--out", out)
    about = load_weights(out).settings.about
    assert about["calibrated_on"]["images"] == [str(number) for number in range(21, 41)]
    # The shipped shift was chosen on these images.
    shipped = load_pretrained("drive").settings.about["bias_shift"]
    assert about["bias_shift"] == pytest.approx(shipped, abs=0.1)
    assert "(20 images, " in said
