"""The command `evaluate`: what it draws, what a run that fails leaves, and what it keeps."""

import gc
import math
import shutil
import weakref

import numpy as np
import pytest
from PIL import Image

from torchattn_blocks.retina import (
    Evaluation,
    FundusFiles,
    evaluate,
    folder_protocol,
    list_folder,
    save_folder,
    synthesize,
)
from torchattn_blocks.retina.evaluation import plots, sheet
from torchattn_blocks.retina.evaluation.counts import Counts


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Ten images, of which the test images have a second observer, and a map of each."""
    drawn = {f"synthetic-{n:04d}": synthesize(n, height=72, width=64) for n in range(10)}
    save_folder(tmp_path / "data", drawn.values())
    (tmp_path / "maps").mkdir()
    for n, fundus in enumerate(drawn.values()):
        noise = np.random.default_rng(n).random(fundus.label.shape)
        probability = np.where(fundus.fov, 0.5 * fundus.label + 0.45 * noise, 0.8)
        np.save(tmp_path / "maps" / f"{fundus.name}.npy", probability.astype(np.float32))
    read = FundusFiles.read

    def with_second(files):
        fundus = read(files)
        if files.name in drawn:
            object.__setattr__(fundus, "second_label", drawn[files.name].second_label)
        return fundus

    monkeypatch.setattr(FundusFiles, "read", with_second)
    return tmp_path / "data"


@pytest.fixture
def run(command, data, tmp_path):
    """Run the command on the maps."""

    def run(*options):
        maps = ["--predictions", tmp_path / "maps", "--out", tmp_path / "out"]
        return command("evaluate", "--data", data, "--dataset", "folder", *maps, *options)

    return run


def split_of(data):
    files = list_folder(data)
    return folder_protocol(files).split(files)


def maps_of(tmp_path, files):
    return [np.load(tmp_path / "maps" / f"{one.name}.npy") for one in files]


def test_it_draws_the_scores_that_it_reports(run, data, tmp_path, monkeypatch):
    curves, sheets = [], []
    monkeypatch.setattr(plots, "draw_score_curves", lambda *given: curves.append(given))
    monkeypatch.setattr(sheet, "draw_sheet", lambda *given: sheets.append(given))
    run()
    report = Evaluation.load(tmp_path / "out" / "report.json")
    test = [files.read() for files in split_of(data).test]
    maps = maps_of(tmp_path, split_of(data).test)
    [(path, counts, second)] = curves
    assert path == tmp_path / "out" / "curves.png"
    everything = np.concatenate([m.ravel() for m in maps])
    expected = Counts.of(everything, np.concatenate([f.label.ravel() for f in test]))
    assert all(map(np.array_equal, counts, expected))  # of whole images
    observer = report.second_observer.whole.pooled
    assert second.scores((0, 0))["MCC"] == pytest.approx(observer["MCC"], abs=1e-5)
    assert len(sheets) == len(test) == 2
    for (path, fundus, probability, scores), one, its in zip(sheets, test, maps, strict=True):
        assert path == tmp_path / "out" / f"{one.name}.png"
        assert fundus.name == one.name
        assert np.array_equal(probability, its)
        alone = evaluate([one], [its])
        whole = {name: spread.mean for name, spread in alone.whole.per_image.items()}
        assert scores == whole
        assert scores["SPE"] != alone.fov.pooled["SPE"]


def test_nothing_of_an_image_is_kept(run, monkeypatch):
    """Of the images and maps that were read, only the present ones are there."""
    alive, most = [], []
    read = FundusFiles.read

    def watched(files):
        gc.collect()
        most.append(sum(ref() is not None for ref in alive))
        fundus = read(files)
        alive.append(weakref.ref(fundus))
        return fundus

    monkeypatch.setattr(FundusFiles, "read", watched)
    run("--no-pictures", "--part", "all")
    assert len(alive) == 10
    assert max(most) <= 1


def damage(tmp_path, data, which):
    """Replace the map of a test image by one of another size."""
    name = split_of(data).test[which].name
    np.save(tmp_path / "maps" / f"{name}.npy", np.zeros((5, 5), np.float32))


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("option", ["--pictures", "--no-pictures"])
def test_a_run_that_fails_leaves_no_report_beside_new_figures(run, data, tmp_path, which, option):
    run("--pictures")
    before = content(tmp_path / "out")
    damage(tmp_path, data, which)
    with pytest.raises(SystemExit, match=r"must have the image's shape \(72, 64\), got \(5, 5\)"):
        run(option)
    if which == 0 or option == "--no-pictures":  # nothing was written
        assert content(tmp_path / "out") == before
    else:
        assert not (tmp_path / "out" / "report.json").exists()


def test_a_missing_map_is_named_before_any_work(run, data, tmp_path):
    name = split_of(data).test[1].name
    (tmp_path / "maps" / f"{name}.npy").unlink()
    with pytest.raises(SystemExit, match=f"must hold 1 probability map of image {name}"):
        run()
    assert not (tmp_path / "out").exists()


def test_without_curves_none_of_an_earlier_run_remain(run, data, tmp_path):
    run("--no-pictures")
    assert (tmp_path / "out" / "curves.png").exists()
    for files in split_of(data).test:
        path = tmp_path / "maps" / f"{files.name}.npy"
        np.save(path, np.rint(np.load(path)))
    assert "No curves: they need vessel, background and" in run("--no-pictures")
    assert not (tmp_path / "out" / "curves.png").exists()
    assert math.isnan(Evaluation.load(tmp_path / "out" / "report.json").whole.pooled["AUC"])


@pytest.mark.filterwarnings("default:.*vessels cover only")
def test_images_that_choose_without_vessels_are_named(run, data, tmp_path):
    split = split_of(data)
    names = [files.name for files in (*split.training, *split.validation)]
    for name in names:
        Image.fromarray(np.zeros((72, 64), np.uint8)).save(data / "labels" / f"{name}.png")
    with pytest.raises(SystemExit) as stop:
        run()
    assert f"no image of {', '.join(names)} has a vessel in its mask" in str(stop.value)
    assert not (tmp_path / "out").exists()


def test_a_warning_stands_on_a_line_of_its_own(data, tmp_path):
    """Above the progress bar, not behind it."""
    from small_runs import run_program

    name = split_of(data).test[1].name
    Image.fromarray(np.zeros((72, 64), np.uint8)).save(data / "labels" / f"{name}.png")
    maps = ["--predictions", tmp_path / "maps", "--out", tmp_path / "out", "--no-pictures"]
    done = run_program("evaluate", "--data", data, "--dataset", "folder", *maps)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.replace("\r", "\n").splitlines() if "warning" in line]
    assert line.startswith(f"warning: {data / 'labels' / name}.png: vessels cover only")
    assert "%|" not in line


def test_names_as_long_as_a_file_may_have_them(command, data, tmp_path):
    """The figure of NAME.png is NAME.png, and its partial file must not have a longer name."""
    long = "ü" * 110 + "x" * 31  # 251 bytes with .png
    for kind in ("images", "labels", "masks"):
        folder = tmp_path / "one" / kind
        folder.mkdir(parents=True)
        shutil.copy(data / kind / "synthetic-0000.png", folder / f"{long}.png")
    (tmp_path / "long").mkdir()
    shutil.copy(tmp_path / "maps" / "synthetic-0000.npy", tmp_path / "long" / f"{long}.npy")
    maps = ["--predictions", tmp_path / "long", "--out", tmp_path / "out"]
    options = ["--dataset", "folder", "--part", "all", *maps]
    command("evaluate", "--data", tmp_path / "one", *options)
    assert (tmp_path / "out" / f"{long}.png").is_file()
    assert not [*(tmp_path / "out").glob("*.partial")]
