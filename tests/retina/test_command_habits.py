"""Habits and slips of users on the command line."""

import os
import subprocess
import sys

import pytest
from small_runs import run_program

import torchattn_blocks
from torchattn_blocks.retina import (
    Network,
    Settings,
    load_pretrained,
    load_weights,
    save_weights,
)
from torchattn_blocks.retina.commands import COMMANDS
from torchattn_blocks.retina.commands._folder import check_folder
from torchattn_blocks.retina.commands._parse import parse
from torchattn_blocks.retina.studies.grid import read_grid
from torchattn_blocks.retina.weights import named_weights, shipped


@pytest.fixture
def refused(command, capsys):
    """Run a command that must be refused as a usage error: what the error says, on one line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            command(*arguments)
        assert stop.value.code == 2
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    return run


@pytest.fixture
def helped(command, capsys):
    """The help of the program or of a command, on one line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            command(*arguments, "--help")
        assert stop.value.code == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return run


def test_the_version_is_one_line():
    done = run_program("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"torchattn_blocks {torchattn_blocks.__version__}\n"


def test_the_version_needs_neither_torch_nor_tyro():
    code = """
import sys
sys.modules["torch"] = sys.modules["tyro"] = None
sys.argv = ["retina", "--version"]
from torchattn_blocks.retina.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("torchattn_blocks ")


def test_without_tyro_the_extra_is_named():
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "tyro":
            raise ModuleNotFoundError("No module named 'tyro'", name="tyro")
sys.meta_path.insert(0, Absent())
sys.argv = ["retina", "--help"]
from torchattn_blocks.retina.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: The command line needs tyro, of the extra [retina]")
    assert done.stderr.count("\n") == 1


def test_help_names_the_version_and_every_command(helped):
    shown = helped()
    for word in ("--version", *COMMANDS):
        assert word in shown


@pytest.mark.parametrize(
    "words", [["8", "16", "32"], ["8,16,32"], ["8,", "16,", "32"], ["8, 16 32"]]
)
def test_widths_are_taken_with_spaces_and_with_commas(words):
    train = parse(["train", "--data", "x", "--widths", *words, "--resume"])
    assert (train.widths, train.resume) == ((8, 16, 32), True)


def test_the_default_widths_are_the_papers():
    assert parse(["train", "--data", "x"]).widths is None  # as the network has it
    assert Network().widths == (16, 32, 64, 128)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["8,x"], "'8,x'"),
        (["8", "x"], "'8 x'"),
        (["8,,16"], "'8,,16'"),
        (["8,1.5"], "'8,1.5'"),
        ([], "''"),
    ],
)
def test_widths_that_are_no_numbers(refused, words, got):
    said = refused("train", "--data", "x", "--widths", *words)
    assert f"--widths: must be whole numbers, like 8 16 or 8,16, got {got}" in said


def test_help_names_both_forms_of_widths(helped):
    shown = helped("train")
    assert "8 16 32 or 8,16,32" in shown
    assert "by default 16 32 64 128" in shown


def test_widths_with_commas_reach_the_network(command, images, tmp_path):
    small = ["--dataset", "folder", "--widths", "4,8", "--steps", "1", "--precision", "no"]
    command("train", "--data", images, *small, "--out", tmp_path)
    assert load_weights(tmp_path / "last.safetensors").settings.network.widths == (4, 8)


@pytest.mark.parametrize("widths", ["[4, 8]", '"4,8"'])
def test_a_grid_takes_both_forms_of_widths(tmp_path, widths):
    path = tmp_path / "grid.toml"
    path.write_text(f'[[grid]]\ndataset = ["drive"]\noptions = [{{widths = {widths}}}]\n')
    (run,) = read_grid(str(path)).runs
    assert parse(["train", "--data", "x", *run.training()]).widths == (4, 8)


@pytest.mark.parametrize("name", [*shipped(), *map(str.upper, shipped()), "Chase_DB1"])
def test_shipped_weights_are_known_in_any_case(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # as the folder of the data set
    assert named_weights(name).settings == load_pretrained(name.lower()).settings


def test_a_file_comes_before_a_name_in_another_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = Network("backbone", widths=(4, 8))
    for name in ("drive", "DRIVE"):
        save_weights(name, network.build(), Settings(network, fov_diameter=60))
    assert named_weights("DRIVE").settings.network == network
    assert named_weights("drive").settings == load_pretrained("drive").settings


def test_a_command_takes_the_name_of_a_data_set(command, images, tmp_path):
    image = images / "images" / "synthetic-0001.png"
    command("segment", image, "--weights", "DRIVE", "--out", tmp_path)
    assert (tmp_path / "synthetic-0001-vessels.png").exists()


@pytest.mark.parametrize(
    ("arguments", "slip", "meant"),
    [
        (["train", "--data", "x", "--epoch", "3"], "--epoch", "--epochs"),
        (["segment", "--flip"], "--flip", "--flips"),
        (["segment", "x.png", "--uncertanty", "3"], "--uncertanty", "--uncertainty"),
        (["evaluate", "--data", "x", "--weight", "drive"], "--weight", "--weights"),
        (["study", "paper_tables", "--job", "2"], "--job", "--jobs"),
    ],
)
def test_a_mistyped_option_names_options_of_its_command_alone(refused, arguments, slip, meant):
    said = refused(*arguments)
    assert f"Unrecognized options: {slip}" in said
    assert f"Perhaps you meant: {meant}" in said
    assert f"run torchattn-retina {arguments[0]} --help" in said
    others = {*COMMANDS} - {arguments[0]}
    assert not [name for name in others if f"torchattn-retina {name}" in said]


@pytest.mark.parametrize("arguments", [[], ["trian", "--data", "x"], ["--nothing"]])
def test_without_a_known_command_all_are_named(refused, arguments):
    names = "segment, measure, evaluate, compare, train, calibrate, study, synthesize"
    assert names in refused(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a.csv", "b.csv"],
        ["train", "--data", "nowhere"],
        ["study", "nowhere.toml"],
        ["synthesize", "1"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_out_must_be_a_folder_before_any_work(command, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    for out, which in (
        ("taken", "taken, which is a file"),
        ("taken/a/b", "taken/a/b, but taken is a file"),
    ):
        with pytest.raises(SystemExit) as stop:
            command(*arguments, "--out", out)
        assert stop.value.code == f"error: --out must be a folder, got {which}"
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_may_exist_or_not(tmp_path):
    check_folder("--maps", tmp_path)
    check_folder("--maps", tmp_path / "new" / "below")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_must_be_writable(tmp_path, monkeypatch):
    # The system's answer is replaced: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(
        ValueError, match=rf"^--maps must be writable, got {tmp_path}, which is not"
    ):
        check_folder("--maps", tmp_path)
    with pytest.raises(ValueError, match=rf"got {tmp_path}/a/b, but {tmp_path} is not$"):
        check_folder("--maps", tmp_path / "a" / "b")
