"""The example as a user runs it; `.ci/run` runs it at full size."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchattn_blocks.retina import (
    Network,
    Settings,
    Trained,
    load_weights,
    synthesize,
    vessel_probability,
)

EXAMPLE = Path(__file__).parents[1] / "examples" / "rsan_drive.py"


@pytest.fixture
def example(monkeypatch):
    """The example as a module, its DRIVE cut down to images of 70 x 64 padded to 72."""
    spec = importlib.util.spec_from_file_location("rsan_drive", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe = replace(module.DRIVE_PROTOCOL.recipe, precision="no", side=72)
    monkeypatch.setattr(module, "DRIVE_PROTOCOL", replace(module.DRIVE_PROTOCOL, recipe=recipe))
    network = Network("unet", widths=(4, 8))
    shipped = Trained(network.build(), Settings(network, fov_diameter=62, side=72))
    monkeypatch.setattr(module, "load_pretrained", lambda name: shipped)
    return module


@cache
def drawn(seed):
    return synthesize(seed, height=70, width=64)


def eye(n):
    """The image of number n: one of seven."""
    return drawn(n % 7)


@pytest.fixture(scope="module")
def made_up_drive(tmp_path_factory):
    """Synthetic images 1 to 40 laid out as DRIVE's archive is, with all labels."""
    root = tmp_path_factory.mktemp("DRIVE")

    def write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    for n in range(1, 41):
        part = "test" if n <= 20 else "training"
        fundus = eye(n)
        write(root / part / "images" / f"{n:02d}_{part}.tif", fundus.image)
        write(root / part / "mask" / f"{n:02d}_{part}_mask.gif", fundus.fov.astype(np.uint8) * 255)
        write(root / part / "1st_manual" / f"{n:02d}_manual1.gif", _grey(fundus.label))
        if part == "test":
            write(root / part / "2nd_manual" / f"{n:02d}_manual2.gif", _grey(fundus.second_label))
    return root


def _grey(label):
    return label.astype(np.uint8) * 255


def run(example, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rsan_drive.py", *map(str, arguments)])
    example.main()
    return capsys.readouterr().out


def tables(text):
    """The tables in a text, one after the other."""
    lines = text.splitlines()
    return ["\n".join(g) for is_row, g in groupby(lines, lambda x: "|" in x[:1]) if is_row]


def numbers(table):
    rows = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def test_on_a_copy_of_drive(example, made_up_drive, tmp_path, monkeypatch, capsys):
    seen = {}

    def spy(model, training, validation, recipe, folder, **options):
        seen.update(
            names=[[f.name for f in part] for part in (training, validation)], recipe=recipe
        )
        seen.update(options, rates={m.p for m in model.modules() if hasattr(m, "p")})
        return train(model, training, validation, recipe, folder, **options)

    train = example.train
    monkeypatch.setattr(example, "train", spy)
    arguments = ["--data", made_up_drive, "--epochs", 1, "--seed", 3, "--out", tmp_path]
    before, after = map(numbers, tables(run(example, monkeypatch, capsys, *arguments)))
    assert list(before) == ["shipped weights", "second observer"]
    assert before == {name: after[name] for name in before}
    rows = after
    assert [len(names) for names in seen["names"]] == [18, 2]
    assert seen["names"][1] == ["23", "40"]
    assert (seen["recipe"].epochs, seen["recipe"].seed) == (1, 3)
    assert (seen["resume"], seen["rates"]) == (False, {0.15})
    assert sorted(p.stem for p in tmp_path.glob("*.png")) == [f"{n:02d}" for n in range(1, 21)]

    model = load_weights(tmp_path / "last.safetensors").model
    test = [eye(n) for n in range(1, 21)]
    found = np.array([vessel_probability(model, f.image, 72) > 0.5 for f in test])
    truth, second = (np.array([getattr(f, key) for f in test]) for key in ("label", "second_label"))
    assert float(rows["RSAN, trained now"]["ACC"]) == pytest.approx(
        (found == truth).mean(), abs=6e-5
    )
    assert float(rows["second observer"]["ACC"]) == pytest.approx(
        (second == truth).mean(), abs=6e-5
    )

    with pytest.raises(SystemExit):
        run(example, monkeypatch, capsys, *arguments)  # it would overwrite the run
    assert "holds a run" in capsys.readouterr().err
    again = tables(run(example, monkeypatch, capsys, *arguments, "--resume"))
    assert numbers(again[-1]) == rows


def test_without_test_labels_it_draws_and_says_so(
    example, made_up_drive, tmp_path, monkeypatch, capsys
):
    bare = tmp_path / "DRIVE"
    bare.mkdir()
    (bare / "training").symlink_to(made_up_drive / "training")
    (bare / "test").mkdir()
    for kind in ("images", "mask"):
        (bare / "test" / kind).symlink_to(made_up_drive / "test" / kind)
    out = run(
        example, monkeypatch, capsys, "--data", bare, "--epochs", 1, "--out", tmp_path / "out"
    )
    assert "No scores: this copy of DRIVE has no vessel masks of its test images." in out
    assert len(list((tmp_path / "out").glob("*.png"))) == 20


@pytest.mark.slow  # `.ci/run` runs it too
def test_as_a_program_on_synthetic_images(tmp_path):
    done = _program("--epochs", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [table] = tables(done.stdout)
    assert list(numbers(table)) == ["RSAN, trained now", "shipped weights", "second observer"]
    assert len(list(tmp_path.glob("synthetic-*.png"))) == 4
    for name in ("retina.png", "retina-small.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 1.7 * picture.height  # image and map, side by side
    assert "8/8" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere/training/images: this folder does not exist"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--seed", "-1"], "seed must be at least 0, got -1"),
        (["--epochs", "many"], "invalid int value: 'many'"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    example, tmp_path, monkeypatch, capsys, arguments, message
):
    with pytest.raises(SystemExit) as stop:
        run(example, monkeypatch, capsys, *arguments, "--out", tmp_path)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def _program(*arguments):
    return subprocess.run(
        [sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, check=False
    )
