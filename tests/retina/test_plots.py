"""Sheets of pictures."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from torchattn_blocks.retina import error_map, save_sheet, synthesize


def test_each_kind_of_pixel_has_its_colour():
    probability = np.array([[0.9, 0.9, 0.1, 0.1]])
    label = np.array([[True, False, True, False]])
    colours = error_map(probability, label)[0]
    assert len({tuple(c) for c in colours}) == 4
    assert colours[0].tolist() == [1, 1, 1]
    assert colours[3].tolist() == [0, 0, 0]
    assert not error_map(probability, label, threshold=0.95)[0, 1].any()


def test_sheet(tmp_path):
    fundus = synthesize(1, height=80, width=70)
    probability = np.where(fundus.label, 0.8, 0.1)
    save_sheet(tmp_path / "full.png", fundus, probability)
    save_sheet(tmp_path / "bare.png", replace(fundus, label=None), probability)
    full, bare = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("full", "bare"))
    assert full.width == 2 * bare.width  # four panels, or two
    assert full.width > 4 * 70  # a dot for each pixel, and margins


def test_sheet_shows_the_errors_at_the_threshold(tmp_path):
    fundus = synthesize(1, height=80, width=70)
    orange, blue = (230, 158, 0), (0, 115, 178)

    def shown(probability, threshold):
        save_sheet(tmp_path / "x.png", fundus, probability, threshold=threshold)
        image = np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).astype(int)
        panels = image[:-30]  # without the legend
        return [bool((abs(panels - colour).max(-1) < 3).any()) for colour in (orange, blue)]

    everything, nothing = np.full(fundus.fov.shape, 0.7), np.full(fundus.fov.shape, 0.3)
    assert shown(everything, 0.5) == [True, False]
    assert shown(nothing, 0.5) == [False, True]
    assert shown(everything, 0.8) == [False, True]


def test_refuses_another_shape(tmp_path):
    fundus = synthesize(1, height=80, width=70)
    with pytest.raises(ValueError, match=r"shape \(80, 70\), got \(70, 80\)"):
        save_sheet(tmp_path / "x.png", fundus, np.zeros((70, 80)))
