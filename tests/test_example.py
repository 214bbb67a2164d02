"""The example as a user runs it; `.ci/run` runs it whole."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "rsan_drive.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_trains_scores_and_draws(tmp_path):
    done = run("--epochs", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    titles = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]
    assert titles[0] == ""
    assert titles[2:] == ["RSAN", "second observer"]
    assert len(list(tmp_path.glob("synthetic-*.png"))) == 4
    assert (tmp_path / "weights.safetensors").stat().st_size > 100_000
    assert "epoch 1/1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere/training/images: there is no such folder"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs", "many"], "invalid int value: 'many'"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    done = run(*arguments, "--out", tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
