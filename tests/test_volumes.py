"""The example of volumes and its page, at a small size."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import label as parts

from torchattn_blocks import DropBlock3d, EfficientChannelAttention

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "volumes.py"
PAGE = (ROOT / "docs" / "volumes.md").read_text(encoding="utf-8")


@pytest.fixture
def example(monkeypatch):
    """The example as a module, its volumes small and few."""
    spec = importlib.util.spec_from_file_location("volumes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIZE", (4, 32, 32))
    monkeypatch.setattr(module, "TRAINING", range(3))
    monkeypatch.setattr(module, "TEST", range(100, 102))
    return module


def test_it_trains_scores_and_draws(example, tmp_path, monkeypatch, capsys):
    arguments = ["--steps", "2", "--seed", "3", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["volumes.py", *arguments])
    example.main()
    printed = capsys.readouterr()
    rows = dict(re.findall(r"^\| (\w[\w, ]*?) +\| +([.\d]+) \|", printed.out, re.MULTILINE))
    assert list(rows) == ["threshold", "smoothed, then threshold", "UNet"]
    assert all(0 < float(dice) < 1 for dice in rows.values())
    assert "2/2" in printed.err
    with Image.open(tmp_path / "out" / "volumes.png") as picture:
        assert picture.width > 700
        assert len(picture.convert("RGB").getcolors()) > 10


def test_a_drawing_repeats_and_holds_brighter_vessels_that_hang_together(example):
    volume, vessels = example.draw(0)
    again, _ = example.draw(0)
    other, _ = example.draw(1)
    np.testing.assert_array_equal(volume, again)
    assert (volume != other).any()
    assert volume.shape == vessels.shape == (4, 32, 32)
    assert volume[vessels].mean() > volume[~vessels].mean() + 0.1
    largest = np.bincount(parts(vessels, np.ones((3, 3, 3)))[0].flat)[1:].max()
    assert largest > 0.2 * vessels.sum()


def test_a_ball_is_the_voxels_within_its_radius(example):
    at = np.moveaxis(np.indices((9, 10, 11)), 0, -1)
    for centre in ([4, 5, 5], [0, 9.4, 10.6], [8.2, 0.1, 3.5]):
        drawn = np.zeros((9, 10, 11))
        example.ball(drawn, np.array(centre), 2.3)
        np.testing.assert_array_equal(drawn, np.linalg.norm(at - centre, axis=-1) <= 2.3)


def test_the_page_shows_the_network_of_the_script(example, capsys):
    shown, refused = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(shown, names)
    layers = {type(module) for module in example.network().modules()}
    assert {DropBlock3d, EfficientChannelAttention} <= layers
    assert str(names["model"]) == str(example.network())
    logits = names["model"].eval()(torch.zeros(1, 1, 5, 18, 20))
    assert logits.shape == (1, 1, 5, 18, 20)
    parameters = sum(p.numel() for p in names["model"].parameters())
    assert f"{parameters:,} parameters" in PAGE
    exec(refused, names)
    assert f"# {capsys.readouterr().out}" in refused


def test_the_picture_of_the_page_is_small():
    assert (ROOT / "docs" / "images" / "volumes.png").stat().st_size < 150_000
