"""The command line, as its users meet it."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import run_program

from torchattn_blocks.layers._recipes import ALL
from torchattn_blocks.models import _memory
from torchattn_blocks.retina import (
    CROPS_RECIPE,
    FundusFiles,
    Network,
    Recipe,
    Settings,
    best_threshold,
    cross_validation,
    folder_protocol,
    load_weights,
    pooled_scores,
    save_weights,
    segment,
    segment_monte_carlo,
)
from torchattn_blocks.retina.commands import COMMANDS
from torchattn_blocks.retina.data.folders import list_folder
from torchattn_blocks.retina.training.examples import prepared_label
from torchattn_blocks.retina.training.soft_skeleton import iterations_for

SMALL = ["--dataset", "folder", "--widths", "4", "8", "--epochs", "3", "--precision", "no"]


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A run of the command `train`, as a program of its own."""
    out = tmp_path_factory.mktemp("run")
    done = run_program("train", "--data", images, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "12/12" in done.stderr
    return out


def test_synthesize_writes_what_folder_reads(images):
    files = list_folder(images)
    assert len(files) == 10
    assert files[0].read().label.any()
    assert len({files.read().image.tobytes() for files in files}) == 10


def test_train_leaves_weights_log_and_curves(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {"best.safetensors", "last.safetensors", "log.csv", "curves.png", "run.json"}
    with (trained / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8", "12"]
    settings = load_weights(trained / "last.safetensors").settings
    assert settings.network.widths == (4, 8)
    assert settings.side == 72
    assert settings.about["dataset"] == "folder"
    assert settings.about["recipe"]["steps"] == 12
    assert 55 < settings.fov_diameter < 64


def test_a_run_cut_by_max_time_goes_on_to_the_same_weights(command, images, trained, tmp_path):
    arguments = ["train", "--data", images, *SMALL, "--out", tmp_path]
    out = command(*arguments, "--max-time", "0:00:00")
    assert "Stopped after step 0 of 12. --resume continues." in out
    assert "Trained for 12 steps" in command(*arguments, "--resume")
    weights, whole = (load_weights(p / "last.safetensors").model for p in (tmp_path, trained))
    whole = whole.state_dict()
    assert all(torch.equal(v, whole[k]) for k, v in weights.state_dict().items())


def test_memory_efficient_training_ends_with_the_same_weights(
    command, images, trained, tmp_path, monkeypatch
):
    arguments = ["train", "--data", images, *SMALL, "--out", tmp_path]
    used = []

    def recomputation(rules, x, **options):
        used.append(rules)
        return wrapped(rules, x, **options)

    wrapped = _memory.recomputation
    monkeypatch.setattr(_memory, "recomputation", recomputation)
    command(*arguments, "--memory-efficient", "--max-time", "0:00:00")
    command(*arguments, "--memory-efficient", "--resume")
    assert ALL in used
    assert json.loads((tmp_path / "run.json").read_text())["notes"]["memory_efficient"] is True
    assert json.loads((trained / "run.json").read_text())["notes"]["memory_efficient"] is False
    weights, whole = (load_weights(p / "last.safetensors").model for p in (tmp_path, trained))
    whole = whole.state_dict()
    assert all(torch.equal(v, whole[k]) for k, v in weights.state_dict().items())


def test_train_options_reach_the_training(command, images, tmp_path):
    options = ["--augment", "--seed", 5, "--model", "backbone_dropblock", "--p", 0.4]
    options += ["--block-size", 3, "--epochs", 1]
    command("train", "--data", images, *SMALL, *options, "--out", tmp_path)
    settings = load_weights(tmp_path / "best.safetensors").settings
    assert (settings.network.model, settings.network.p) == ("backbone_dropblock", 0.4)
    assert settings.network.block_size == 3
    recipe = settings.about["recipe"]
    assert (recipe["seed"], recipe["steps"]) == (5, 4)
    assert recipe["augmentation"] == {
        "flip": True,
        "rotate": True,
        "brightness": 0.1,
        "gamma": 0.1,
    }


@pytest.mark.parametrize("flips", [False, True])
def test_evaluate_reports_the_scores_of_its_weights(command, images, trained, tmp_path, flips):
    weights = trained / "last.safetensors"
    arguments = ["--data", images, "--dataset", "folder", "--weights", weights]
    out = command("evaluate", *arguments, "--out", tmp_path, *(["--flips"] if flips else []))
    report = json.loads((tmp_path / "report.json").read_text())
    test = [files.read() for files in list_folder(images)[4::5]]
    assert report["images"] == [fundus.name for fundus in test]
    network = load_weights(weights)
    maps = [segment(f.image, network, fov=f.fov, flips=flips) for f in test]
    expected = pooled_scores(maps, [f.label for f in test], masks=[f.fov for f in test])
    assert report["fov"]["pooled"]["AUC"] == pytest.approx(expected["AUC"], abs=1e-5)
    assert report["flips"] is flips
    assert report["weights"]["about"]["step"] == 12
    assert report["chosen"]["threshold"] != report["threshold"]
    assert out.startswith((tmp_path / "tables.md").read_text()[:20])
    names = {path.name for path in tmp_path.iterdir()}
    tables = {"report.json", "tables.md", "tables.csv", "curves.png"}
    assert names == {*tables, *(f"{f.name}.png" for f in test)}
    with (tmp_path / "tables.csv").open(newline="") as file:
        rows = {(r["view"], r["system"], r["statistic"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * 2 * 3  # views, thresholds, statistics
    for view in ("whole", "fov"):
        pooled, std = (rows[view, "network at .5", statistic] for statistic in ("pooled", "std"))
        assert float(pooled["F1"]) == pytest.approx(report[view]["pooled"]["F1"], abs=1e-5)
        expected = report[view]["per_image"]["clDice"]["std"]
        assert float(std["clDice"]) == pytest.approx(expected, abs=1e-5)
        assert pooled["clDice"] == ""


def test_evaluate_scores_the_maps_of_any_program(command, images, trained, tmp_path):
    data = ["--data", images, "--dataset", "folder", "--no-pictures"]
    weights = ["--weights", trained / "last.safetensors"]
    # The maps of --uncertainty, beside those of the probability, are no predictions.
    command("segment", images / "images", *weights, "--out", tmp_path / "maps", "--uncertainty", 2)
    for name, how in (("own", weights), ("others", ["--predictions", tmp_path / "maps"])):
        command("evaluate", *data, *how, "--out", tmp_path / name)
    own, others = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("own", "others")
    )
    assert others["predictions"] == "maps"
    assert others["fov"]["pooled"] == pytest.approx(own["fov"]["pooled"], abs=1e-3)
    assert others["chosen_on"] == own["chosen_on"] != []
    network = load_weights(trained / "last.safetensors")
    watched = [f.read() for f in list_folder(images) if f.name in own["chosen_on"]]
    computed = [segment(fundus.image, network, fov=fundus.fov) for fundus in watched]
    paths = [tmp_path / "maps" / f"{fundus.name}-probability.png" for fundus in watched]
    written = [np.array(Image.open(path)) / 65535 for path in paths]  # 0 outside fields of view
    for report, maps in ((own, computed), (others, written)):
        labels, masks = ([getattr(one, name) for one in watched] for name in ("label", "fov"))
        expected = best_threshold(maps, labels, masks=masks)
        assert report["chosen"]["threshold"] == expected
        assert report["thresholds"]["training and validation images"] == expected
    assert "| training and validation images " in (tmp_path / "own" / "tables.md").read_text()

    for name in own["chosen_on"]:  # without these maps no threshold can be chosen
        for kind in ("probability", "vessels", "overlay", "fov", "uncertainty"):
            (tmp_path / "maps" / f"{name}-{kind}.png").unlink()
    command("evaluate", *data, "--predictions", tmp_path / "maps", "--out", tmp_path / "bare")
    bare = json.loads((tmp_path / "bare" / "report.json").read_text())
    assert bare["fov"] == others["fov"]
    assert bare["chosen_on"] == []
    assert "chosen" not in bare
    for path in (tmp_path / "maps").glob("*-vessels.png"):  # masks have no curve
        path.rename(tmp_path / "maps" / path.name.replace("vessels", "prob"))
    for path in (tmp_path / "maps").glob("*-probability.png"):
        path.unlink()
    out = command("evaluate", *data, "--predictions", tmp_path / "maps", "--out", tmp_path / "mask")
    assert "No curves" in out
    assert (tmp_path / "mask" / "report.json").is_file()
    with pytest.raises(SystemExit, match="either --predictions or --weights"):
        command("evaluate", *data, *weights, "--predictions", tmp_path / "maps")


def test_folds_give_the_auxiliary_targets_of_a_training_on_crops(command, images, tmp_path):
    data = ["--data", images, "--dataset", "folder"]
    small = ["--widths", 4, 8, "--precision", "no", "--recipe", "crops", "--batch-size", 2]
    split = folder_protocol(list_folder(images)).split(list_folder(images))
    everything = [*split.training, *split.validation]
    for fold in ("1/2", "2/2"):
        out = tmp_path / fold[0]
        command("train", *data, *small, "--steps", 2, "--fold", fold, "--out", out)
        parts = cross_validation(split, int(fold[0]), 2)
        record = json.loads((out / "run.json").read_text())
        for part in ("training", "validation"):
            assert [*record["images"][part]] == [f.name for f in getattr(parts, part)]
        how = ["--weights", out / "last.safetensors", "--fold", fold, "--no-pictures"]
        command("evaluate", *data, *how, "--maps", tmp_path / "maps", "--out", out / "scores")
        report = json.loads((out / "scores" / "report.json").read_text())
        assert report["images"] == [files.name for files in parts.test]
        assert report["fold"] == fold
    names = sorted(path.stem for path in (tmp_path / "maps").iterdir())
    assert names == sorted(files.name for files in everything)

    extra = ["--auxiliary", tmp_path / "maps", "--auxiliary-share", 0.3, "--input-scale", 0.8]
    extra += ["--dice", 0.5, "--cl-dice", 0.25]
    command("train", *data, *small, "--steps", 2, *extra, "--out", tmp_path / "final")
    recipe = load_weights(tmp_path / "final" / "last.safetensors").settings.about["recipe"]
    scaled = Recipe(input_scale=0.8)
    expected = replace(
        CROPS_RECIPE,
        steps=2,
        batch_size=2,
        precision="no",
        auxiliary=0.3,
        input_scale=0.8,
        dice=0.5,
        cl_dice=0.25,
        cl_dice_iterations=iterations_for(prepared_label(f.read(), scaled) for f in split.training),
    )
    assert recipe == expected.as_data()


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_program_goes_on_to_the_same_weights(images, tmp_path, end):
    arguments = ["train", "--data", images, *SMALL, "--epochs", 40]
    whole, part = (tmp_path / name for name in ("whole", "part"))
    assert run_program(*arguments, "--out", whole).returncode == 0
    command = [sys.executable, "-m", "torchattn_blocks.retina", *arguments, "--out", part]
    program = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    while not (part / "checkpoint-12.pt").exists():
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(end)
    _, errors = program.communicate()
    assert program.returncode != 0
    assert "Traceback" not in errors
    done = run_program(*arguments, "--out", part, "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("last.safetensors", "best.safetensors", "log.csv"):
        assert (part / name).read_bytes() == (whole / name).read_bytes()


def test_a_loss_that_is_not_finite_is_one_line(command, images, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("train: at step 3 the loss is nan")

    monkeypatch.setattr("torchattn_blocks.retina.training.loop.train", diverge)
    with pytest.raises(SystemExit, match=r"^error: train: at step 3 the loss is nan$"):
        command("train", "--data", images, *SMALL, "--out", tmp_path)


def test_whole_images_are_padded_to_their_scaled_size(command, images, tmp_path):
    data = ["--data", images, *SMALL, "--epochs", 1]
    command("train", *data, "--input-scale", 1.5, "--out", tmp_path)
    assert load_weights(tmp_path / "last.safetensors").settings.side == 112  # of 1.5 * 72


def test_evaluate_without_labels_says_what_is_missing(command, images, trained, tmp_path):
    for part in ("training", "test"):
        (tmp_path / part / "images").mkdir(parents=True)
    for path in (images / "images").iterdir():
        part = "test" if path.stem.endswith("9") else "training"
        (tmp_path / part / "images" / path.name).symlink_to(path)
        if part == "training":
            (tmp_path / part / "labels").mkdir(exist_ok=True)
            (tmp_path / part / "labels" / path.name).symlink_to(images / "labels" / path.name)
    arguments = ["--data", tmp_path, "--dataset", "folder", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match=r"must have a vessel mask; missing: test/synthetic-0009"):
        command("evaluate", *arguments, "--weights", trained / "last.safetensors")
    assert not (tmp_path / "out").exists()


def test_segment_draws_at_the_images_own_size(command, images, trained, tmp_path):
    given = [images / "images" / f"synthetic-000{n}.png" for n in (1, 2)]
    large = tmp_path / "large.png"
    Image.open(given[0]).resize((200, 180)).save(large)
    weights = ["--weights", trained / "last.safetensors"]
    out = command("segment", *given, large, *weights, "--out", tmp_path, "--threshold", "0.4")
    assert out.split() == [str(tmp_path / f"{p.stem}-overlay.png") for p in (*given, large)]
    for path, size in ((given[0], (72, 64)), (large, (200, 180))):
        kinds = ("probability", "vessels", "overlay")
        probability, vessels, overlay = (
            np.array(Image.open(tmp_path / f"{path.stem}-{kind}.png")) for kind in kinds
        )
        assert probability.shape == vessels.shape == size[::-1]
        assert (probability.dtype, vessels.dtype) == (np.uint16, np.uint8)
        assert set(np.unique(vessels)) <= {0, 255}
        # 26214 is .4 of 65535: rounding may put a pixel of just above it there.
        assert (probability[vessels > 0] >= 26214).all()
        assert (probability[vessels == 0] <= 26214).all()
        image = np.array(Image.open(path).convert("RGB"))
        changed = (overlay != image).any(2)
        assert np.array_equal(changed, vessels > 0)


def test_segment_writes_the_same_uncertainty_each_time(command, images, trained, tmp_path):
    paths = [images / "images" / f"synthetic-000{n}.png" for n in (1, 2)]
    weights = ["--weights", trained / "last.safetensors", "--uncertainty", 3]
    outs = [tmp_path / name for name in ("first", "again", "flips")]
    for out, options in zip(outs, ([], [], ["--flips"]), strict=True):
        command("segment", *paths, *weights, "--out", out, *options)
    command("segment", paths[1], *weights, "--out", tmp_path / "alone")
    command("segment", paths[1], *weights[:2], "--out", tmp_path / "without")

    name = paths[1].stem
    kinds = {path.stem.removeprefix(f"{name}-") for path in (tmp_path / "alone").glob("*.png")}
    assert kinds == {"probability", "vessels", "overlay", "fov", "uncertainty"}
    written = [(out / f"{name}-uncertainty.png").read_bytes() for out in outs]
    assert written[0] == written[1] == written[2]
    assert written[0] != (outs[0] / f"{paths[0].stem}-uncertainty.png").read_bytes()
    for kind in ("probability", "vessels", "overlay"):  # as without --uncertainty
        alone, without = (tmp_path / folder for folder in ("alone", "without"))
        picture = f"{name}-{kind}.png"
        assert (alone / picture).read_bytes() == (without / picture).read_bytes()
    # An image alone is computed in several threads, which changes the last digits.
    one, other = (
        np.asarray(Image.open(folder / f"{name}-uncertainty.png")).astype(int)
        for folder in (outs[0], tmp_path / "alone")
    )
    assert np.abs(one - other).max() <= 2
    assert not (tmp_path / "without" / f"{name}-uncertainty.png").exists()

    fundus = FundusFiles(name, paths[1], None, None, None).read()
    network = load_weights(trained / "last.safetensors")
    _, std = segment_monte_carlo(fundus.image, network, 3, fov=fundus.fov)
    uncertainty = np.array(Image.open(outs[0] / f"{name}-uncertainty.png"))
    assert (uncertainty.dtype, uncertainty.shape) == (np.uint16, (64, 72))
    assert (uncertainty[~fundus.fov] == 0).all()
    assert (uncertainty[fundus.fov] > 0).mean() > 0.9
    # 65535 is 0.5
    np.testing.assert_allclose(uncertainty / 65535 / 2, std * fundus.fov, atol=0.5 / 65535)


@pytest.mark.parametrize(
    ("network", "got"),
    [
        (Network("unet", widths=(4, 8)), "unet"),
        (Network("backbone", widths=(4, 8)), "backbone"),
        (Network("rsan", widths=(4, 8), p=0.0), "rsan with p = 0"),
    ],
)
def test_uncertainty_needs_a_network_that_drops(command, images, tmp_path, network, got):
    save_weights(tmp_path / "w.safetensors", network.build(), Settings(network, 60))
    given = ["segment", images / "images", "--weights", tmp_path / "w.safetensors"]
    message = "--uncertainty: the network must have DropBlock (or other dropout) with p above 0, "
    message += f"which rsan and backbone_dropblock can have, got {got}"
    with pytest.raises(SystemExit) as stop:
        command(*given, "--out", tmp_path / "out", "--uncertainty", 2)
    assert stop.value.code == f"error: {message}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], r"nowhere/training/images: this folder does not exist"),
        (["train", "--data", "DATA", *SMALL, "--epochs", "0"], "epochs must be at least 1, got 0"),
        (["train", "--data", "DATA", *SMALL, "--max-time", "9 min"], "hours:minutes:seconds"),
        (["train", "--data", "DATA", *SMALL, "--p", "1.5"], r"p must .*1\.5"),
        (["train", "--data", "DATA", *SMALL, "--steps", "2"], "pass either --epochs or --steps"),
        (["train", "--data", "DATA", *SMALL, "--auxiliary-share", "1"], "share needs --auxiliary"),
        (["train", "--data", "DATA", *SMALL, "--fold", "9/5"], "fold must be at most 5, got 9"),
        (["train", "--data", "DATA", *SMALL, "--fold", "1of5"], "--fold must be like 1/5"),
        (["train", "--data", "DATA", *SMALL, "--workers", "-1"], "workers must be at least 0"),
        (["train", "--data", "DATA", *SMALL, "--resume", "--out", "OUT"], "holds no run to resume"),
        (
            ["train", "--data", "DATA", *SMALL, "--recipe", "crops", "--augment"],
            "--augment is for whole images",
        ),
        (
            ["train", "--data", "DATA", *SMALL, "--auxiliary", "nowhere"],
            "nowhere: this folder does not exist",
        ),
        (
            ["evaluate", "--data", "DATA", "--weights", "nobody"],
            "nobody: this weights file does not exist",
        ),
        (["segment", "nowhere.png", "--weights", "WEIGHTS"], r"nowhere\.png"),
        (
            ["segment", "--weights", "WEIGHTS"],
            "images must name at least 1 image or folder, got none",
        ),
        (
            ["segment", "IMAGE", "LABEL", "--weights", "WEIGHTS"],
            "have different names without their endings, got synthetic-0001",
        ),
        (["segment", "IMAGE", "--weights", "WEIGHTS", "--threshold", "2"], r"\[0, 1\], got 2"),
        (
            ["segment", "x.png", "--weights", "WEIGHTS", "--uncertainty", "1"],
            "--uncertainty must be at least 2, got 1",
        ),
        (["synthesize", "0", "--out", "OUT"], "count must be at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_one_clear_error(
    command, images, trained, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    names = {"DATA": images, "WEIGHTS": trained / "last.safetensors", "OUT": tmp_path / "o"}
    kinds = {"IMAGE": "images", "LABEL": "labels"}
    names |= {name: images / kind / "synthetic-0001.png" for name, kind in kinds.items()}
    with pytest.raises(SystemExit, match=rf"error: [\s\S]*{message}"):
        command(*(names.get(a, a) for a in arguments))


@pytest.mark.parametrize("name", [*COMMANDS])
def test_help_explains_every_argument(command, capsys, name):
    with pytest.raises(SystemExit) as stop:
        command(name, "--help")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert COMMANDS[name].__doc__.split()[0] in shown
    for field in COMMANDS[name].__dataclass_fields__:
        assert field.replace("_", "-") in shown.lower()


def test_help_loads_no_torch_and_commands_let_waiting_threads_sleep():
    code = """
import os, sys
os.environ.pop("OMP_WAIT_POLICY", None)
from torchattn_blocks.retina.__main__ import main
for arguments in (["--help"], ["train", "--help"]):
    sys.argv = ["retina", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert stop.code == 0
assert not {"torch", "numpy", "skimage", "PIL"} & set(sys.modules)
sys.argv = ["retina", "segment"]
try:
    main()
except SystemExit as stop:
    assert "images must name" in stop.code
assert os.environ["OMP_WAIT_POLICY"] == "passive"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["tyro", "torchattn_blocks.retina.commands", "numpy"])
def test_an_interrupt_while_loading_leaves_no_traceback(module):
    code = f"""
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.argv = ["retina", "segment", sys.executable]
from torchattn_blocks.retina.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Stopped.\n")


def test_a_bad_image_does_not_stop_the_others(command, images, trained, tmp_path):
    folder = tmp_path / "eyes"
    folder.mkdir()
    given = images / "images" / "synthetic-0001.png"
    for name in ("b.png", "c.png"):
        (folder / name).write_bytes(given.read_bytes())
    (folder / "a.png").write_bytes(given.read_bytes()[:500])
    (folder / "notes.txt").write_text("no image")
    out = ["--weights", trained / "last.safetensors", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as stop:
        command("segment", folder, *out)
    assert re.match(r"error: 1 of 3 images could not be segmented:\n.*a\.png", stop.value.code)
    names = sorted(path.name for path in (tmp_path / "out").glob("*-vessels.png"))
    assert names == ["b-vessels.png", "c-vessels.png"]
