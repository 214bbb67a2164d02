"""Every file of every command appears when it is complete."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from torchattn_blocks.retina import (
    Evaluation,
    Network,
    Settings,
    Spread,
    SystemScores,
    ViewScores,
    save_folder,
    save_weights,
    synthesize,
)
from torchattn_blocks.retina.studies.grid import read_grid
from torchattn_blocks.retina.studies.run import EVALUATIONS
from torchattn_blocks.retina.write import write_figure, write_png, write_whole


@pytest.fixture
def data(tmp_path):
    """Ten images in two folders, whose names are parts of the images' names."""
    for n in range(10):
        place = "left" if n % 2 else "right"
        save_folder(tmp_path / "data" / place, [synthesize(n, height=72, width=64)])
    return tmp_path / "data"


@pytest.fixture
def weights(tmp_path):
    network, path = Network("rsan", (4, 8)), tmp_path / "small.safetensors"
    save_weights(path, network.build(), Settings(network, fov_diameter=60))
    return path


def study(tmp_path):
    """A study whose only run is finished."""
    grid = tmp_path / "grid.toml"
    grid.write_text('[[grid]]\ndataset = ["drive"]\nmodel = ["rsan"]\nrecipe = ["paper"]\n')
    scores = dict.fromkeys(("SEN", "SPE", "F1", "ACC", "AUC", "AP", "MCC"), 0.8)
    view = ViewScores(scores, {"clDice": Spread(0.8, 0.1)})
    [run] = read_grid(str(grid)).runs
    for evaluation in EVALUATIONS:
        path = run.report(tmp_path / "out", evaluation)
        path.parent.mkdir(parents=True)
        Evaluation(("01",), SystemScores(0.5, view, view)).save(path)
    return grid


@pytest.mark.parametrize("name", ["synthesize", "train", "evaluate", "segment", "compare", "study"])
def test_every_file_of_a_command_is_written_whole(
    name, command, data, weights, tmp_path, monkeypatch
):
    small = ["--dataset", "folder", "--widths", 4, 8, "--epochs", 1, "--precision", "no"]
    maps = ["--maps", tmp_path / "out" / "maps"]
    table = tmp_path / "measures.csv"
    table.write_text("image,density\n1,.1\n2,.2\n")
    arguments = {
        "synthesize": [2, "--height", 64, "--width", 64],
        "train": ["--data", data, *small],
        "evaluate": ["--data", data, "--dataset", "folder", "--weights", weights, *maps],
        "segment": [data / "left" / "images", "--weights", weights, "--uncertainty", 2],
        "compare": [table, table],
        "study": [study(tmp_path)],
    }
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    renamed = set()
    replace = Path.replace

    def recorded(partial, path):
        assert partial == path.with_name(f"{path.name}.partial")
        renamed.add(path)
        return replace(partial, path)

    monkeypatch.setattr(Path, "replace", recorded)
    command(name, *arguments[name], "--out", tmp_path / "out")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert len(written) >= 2
    assert written <= renamed
    if name == "evaluate":
        names = {path.relative_to(tmp_path / "out").as_posix() for path in written}
        assert names >= {"report.json", "tables.md", "tables.csv", "curves.png"}
        figures = sorted(name for name in names if name.startswith(("left/", "right/")))
        assert len(figures) == 2
        assert {f"maps/{figure}" for figure in figures} <= names


@pytest.mark.parametrize("name", ["report.json", "tables.md", "maps/x.png", "figure.png"])
def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    write = {
        "report.json": lambda: write_whole(path, b"{}"),
        "tables.md": lambda: write_whole(path, b"new"),
        "maps/x.png": lambda: write_png(path, np.zeros((3, 3), np.uint16)),
        "figure.png": lambda: write_figure(path, Figure(figsize=(1, 1))),
    }
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'$"):
        write[name]()
    assert path.read_bytes() == b"old"
    assert list(path.parent.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("given", "written", "start"),
    [
        ("a.png", "a.png", b"\x89PNG"),
        ("a.PNG", "a.PNG", b"\x89PNG"),
        ("a.svg", "a.svg", b"<?xml"),
        ("a.pdf", "a.pdf", b"%PDF"),
        ("a", "a.png", b"\x89PNG"),  # as matplotlib's savefig
        ("a.", "a.png", b"\x89PNG"),
        ("b.c/a", "b.c/a.png", b"\x89PNG"),
    ],
)
def test_the_ending_chooses_the_format_of_a_figure(given, written, start, tmp_path):
    (tmp_path / "b.c").mkdir()
    write_figure(tmp_path / given, Figure(figsize=(1, 1)))
    assert (tmp_path / written).read_bytes().startswith(start)
    with pytest.raises(ValueError, match="Format 'xyz' is not supported"):
        write_figure(tmp_path / "a.xyz", Figure(figsize=(1, 1)))
    assert not (tmp_path / "a.xyz").exists()
