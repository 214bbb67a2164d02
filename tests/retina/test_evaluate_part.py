"""Which images `evaluate` scores, and what it says of those that were trained on."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_other_layouts import make_stare

from torchattn_blocks.retina import (
    Network,
    Settings,
    list_folder,
    list_stare,
    save_folder,
    save_weights,
)
from torchattn_blocks.retina.commands._dataset import open_dataset
from torchattn_blocks.retina.evaluation import threshold


@pytest.fixture
def stare(tmp_path):
    make_stare(tmp_path / "stare", packed=False, folders=False)
    return ["evaluate", "--data", tmp_path / "stare", "--dataset", "stare", "--no-pictures"]


@pytest.fixture
def scored(command, tmp_path):
    """Run `evaluate`; the printed lines and the report."""

    def run(*arguments):
        out = command(*arguments, "--out", tmp_path / "out")
        return out.splitlines(), json.loads((tmp_path / "out" / "report.json").read_text())

    return run


def weights(path, **about):
    network = Network("backbone", widths=(4, 8))
    save_weights(path, network.build(), Settings(network, 60, about=about))
    return ["--weights", path]


def test_all_images_are_scored_by_weights_of_another_data_set(scored, stare, tmp_path):
    given = weights(tmp_path / "w", dataset="drive")
    lines, report = scored(*stare, *given)
    assert report["images"] == [files.name for files in list_stare(tmp_path / "stare")]
    assert (report["part"], report["leak"], report["chosen_on"]) == ("all", None, [])
    assert "--part" not in lines[0]
    _, report = scored(*stare, *given, "--part", "test")
    assert report["images"] == ["0255"]
    assert (report["part"], report["leak"]) == ("test", None)


def test_thresholds_are_chosen_within_the_field_of_view(scored, images, tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    maps.mkdir()
    cut = np.arange(72) < 40

    def narrowed():
        for files in list_folder(images):
            fundus = files.read()
            fov, label = fundus.fov & cut, fundus.label | ~cut
            np.save(maps / f"{fundus.name}.npy", np.where(label, np.where(fov, 0.3, 0.2), 0.1))
            yield replace(fundus, fov=fov, label=label)

    save_folder(tmp_path / "mine", narrowed())
    data = ["--data", tmp_path / "mine", "--dataset", "folder", "--no-pictures"]
    _, report = scored("evaluate", *data, "--predictions", maps)
    assert report["thresholds"]["training and validation images"] == 0.29
    assert len(report["chosen_on"]) == 8
    (maps / f"{report['chosen_on'][0]}.npy").unlink()  # the others still choose
    _, fewer = scored("evaluate", *data, "--predictions", maps)
    assert fewer["chosen_on"] == report["chosen_on"][1:]
    assert fewer["thresholds"] == report["thresholds"]
    # Ten are picked among those with a map; here two, of which the first has none.
    monkeypatch.setattr(threshold, "_MOST", 2)
    _, two = scored("evaluate", *data, "--predictions", maps)
    assert len(two["chosen_on"]) == 2 + 1
    # If nothing is found at all, F1/2 is no threshold.
    for path in maps.glob("*.npy"):
        np.save(path, np.zeros((64, 72)))
    _, blank = scored("evaluate", *data, "--predictions", maps)
    assert [*blank["thresholds"]][-1] == "validation images"


@pytest.mark.filterwarnings("ignore:.*vessels cover only")
@pytest.mark.parametrize("bare", ["training", "validation"])
def test_a_part_without_vessels_chooses_nothing(scored, images, tmp_path, bare):
    folder, maps = tmp_path / "mine", tmp_path / "maps"
    shutil.copytree(images, folder)
    maps.mkdir()
    for files in list_folder(folder):
        np.save(maps / f"{files.name}.npy", np.where(files.read().label, 0.3, 0.1))
    _, split = open_dataset("folder", folder)
    for files in getattr(split, bare):
        Image.new("L", (72, 64)).save(folder / "labels" / f"{files.name}.png")
    data = ["--data", folder, "--dataset", "folder", "--no-pictures", "--predictions", maps]
    _, report = scored("evaluate", *data)
    useful = "validation" if bare == "training" else "training"
    assert next(iter(report["thresholds"])) == f"{useful} images"
    assert report["chosen_on"] == [files.name for files in getattr(split, useful)]


@pytest.mark.parametrize(
    "about",
    [
        {"dataset": "drive+chase_db1"},
        {"dataset": "hrf", "pretrained": {"dataset": "drive+chase_db1"}},
    ],
)
def test_also_by_weights_of_several_other_sets(scored, stare, tmp_path, about):
    _, report = scored(*stare, *weights(tmp_path / "w", **about))
    assert (report["part"], report["leak"], len(report["images"])) == ("all", None, 3)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (
            {"dataset": "drive+stare"},
            "the weights were trained on images of stare, which are scored too",
        ),
        (
            {"dataset": "drive", "pretrained": {"dataset": "hrf+stare"}},
            "the weights were trained on images of stare, which are scored too",
        ),
        ({"dataset": "drive+folder"}, "images that were trained on may be scored too"),
        ({"dataset": "stare"}, "the weights were trained on images of stare, which are scored too"),
        ({"dataset": "folder"}, "images that were trained on may be scored too"),
        ({}, "images that were trained on may be scored too"),
    ],
)
def test_of_the_same_set_or_an_unknown_one_the_test_images(scored, stare, tmp_path, about, said):
    given = weights(tmp_path / "w", **about)
    _, report = scored(*stare, *given)
    assert (report["images"], report["part"]) == (["0255"], "test")
    lines, report = scored(*stare, *given, "--part", "all")
    assert lines[0].startswith(f"--part all: {said}")
    assert report["leak"].startswith(said)
    assert len(report["images"]) == 3


def test_predictions_are_of_an_unknown_program(scored, stare, tmp_path):
    for files in list_stare(tmp_path / "stare"):
        (tmp_path / "maps").mkdir(exist_ok=True)
        (tmp_path / "maps" / f"{files.name}.png").write_bytes(files.label.read_bytes())
    given = ["--predictions", tmp_path / "maps"]
    _, report = scored(*stare, *given)
    assert (report["images"], report["part"]) == (["0255"], "test")
    lines, report = scored(*stare, *given, "--part", "all")
    assert len(report["images"]) == 3
    assert lines[0].startswith("--part all: images that were trained on may be scored too")
    assert report["leak"]


def test_a_fold_is_a_part(command, stare, tmp_path):
    with pytest.raises(SystemExit, match="pass either --fold or --part all"):
        command(*stare, "--fold", "1/5", "--part", "all")


def test_the_diameter_is_written_down(scored, stare, tmp_path):
    given = weights(tmp_path / "w", dataset="drive")
    _, plain = scored(*stare, *given)
    _, report = scored(*stare, *given, "--fov-diameter", 120)
    assert (plain["fov_diameter"], report["fov_diameter"]) == (None, 120.0)
    assert report["whole"] != plain["whole"]


@pytest.mark.parametrize("given", ["0", "-5", "inf"])
def test_the_diameter_is_checked_first(command, given):
    with pytest.raises(
        SystemExit, match=r"^error: --fov-diameter must be above 0 and finite, got "
    ):
        command("evaluate", "--data", "nosuch", "--predictions", "x", "--fov-diameter", given)
