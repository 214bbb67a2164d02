"""Sheets of pictures, and curves of scores and losses."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from skimage.segmentation import find_boundaries
from sklearn import metrics
from small_runs import drawn as drawn_eye

from torchattn_blocks.retina import (
    LogEntry,
    error_map,
    save_score_curves,
    save_sheet,
    save_training_curves,
    synthesize,
)


def test_each_kind_of_pixel_has_its_colour():
    probability = np.array([[0.9, 0.9, 0.1, 0.1]])
    label = np.array([[True, False, True, False]])
    colours = error_map(probability, label)[0]
    assert len({tuple(c) for c in colours}) == 4
    assert colours[0].tolist() == [1, 1, 1]
    assert colours[3].tolist() == [0, 0, 0]
    assert not error_map(probability, label, threshold=0.95)[0, 1].any()


def test_errors_are_those_that_scores_count():
    """A threshold is compared in the precision of the map, also one of NumPy."""
    probability, label = np.array([[0.3, 0.9]], np.float32), np.array([[True, True]])
    for threshold in (0.3, np.float64(0.3)):
        assert not error_map(probability, label, threshold)[0, 0].all()


def test_sheet(tmp_path):
    fundus = drawn_eye(1, 80, 70)
    probability = np.where(fundus.label, 0.8, 0.1)
    save_sheet(tmp_path / "full.png", fundus, probability)
    save_sheet(tmp_path / "bare.png", replace(fundus, label=None), probability)
    full, bare = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("full", "bare"))
    assert full.width - 10 == 2 * (bare.width - 10)  # four panels, or two, and a margin
    assert holds(full, fundus.image)  # a dot for each pixel
    assert holds(bare, fundus.image)


def test_a_sheet_is_true_to_the_pixel_in_any_style(tmp_path):
    fundus = replace(drawn_eye(1, 80, 70), name="a$_$b")
    probability = np.where(fundus.label, 0.8, 0.1)
    save_sheet(tmp_path / "plain.png", fundus, probability)
    with rc_context({"savefig.dpi": 300, "savefig.bbox": "tight"}):
        save_sheet(tmp_path / "styled.png", fundus, probability)
    plain, styled = (
        Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("plain", "styled")
    )
    assert holds(styled, fundus.image)
    assert styled.size == plain.size


@pytest.mark.parametrize("width", [590, 1175])
def test_a_sheet_is_never_wider_than_2400_pixels(tmp_path, width):
    fundus = synthesize(1, height=64, width=width)
    save_sheet(tmp_path / "x.png", fundus, np.where(fundus.label, 0.8, 0.1))
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.width <= 2400


def test_a_sheet_of_a_large_image_is_shrunk_by_a_whole_number(tmp_path):
    fundus = synthesize(1, height=500, width=1000)
    save_sheet(tmp_path / "x.png", fundus, np.where(fundus.label, 0.8, 0.1))
    sheet = Image.open(tmp_path / "x.png").convert("RGB")
    assert 1900 < sheet.width <= 2400
    assert holds(sheet, np.asarray(Image.fromarray(fundus.image).reduce(2)))


def holds(sheet, image):
    """Whether a picture stands in a sheet, pixel by pixel."""
    whole, (height, width) = np.asarray(sheet), image.shape[:2]
    rows, columns = np.nonzero((whole == image[height // 2, width // 2]).all(-1))
    corners = zip(rows - height // 2, columns - width // 2, strict=True)
    return any(np.array_equal(whole[r : r + height, c : c + width], image) for r, c in corners)


def test_a_sheet_outlines_the_field_of_view_and_tells_the_scores(tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(Figure, "text", lambda figure, x, y, s, **options: texts.append(s))
    fundus = synthesize(1, height=80, width=200)
    save_sheet(tmp_path / "x.png", fundus, np.where(fundus.label, 0.8, 0.1))
    assert texts[-1].startswith("whole image: SEN 1.0000  SPE 1.0000  F1 1.0000")
    panel = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))[26:106, 220:420]
    marked = (panel == (86, 180, 233)).all(-1)
    np.testing.assert_array_equal(marked, find_boundaries(fundus.fov, mode="inner"))


def test_sheet_shows_the_errors_at_the_threshold(tmp_path):
    fundus = drawn_eye(1, 80, 70)
    orange, blue = (230, 159, 0), (0, 114, 178)

    def shown(probability, threshold):
        save_sheet(tmp_path / "x.png", fundus, probability, threshold=threshold)
        image = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
        panels = image[:-30]  # without the legend
        return [bool((panels == colour).all(-1).any()) for colour in (orange, blue)]

    everything, nothing = np.full(fundus.fov.shape, 0.7), np.full(fundus.fov.shape, 0.3)
    assert shown(everything, 0.5) == [True, False]
    assert shown(nothing, 0.5) == [False, True]
    assert shown(everything, 0.8) == [False, True]


def test_refuses_another_shape(tmp_path):
    fundus = drawn_eye(1, 80, 70)
    with pytest.raises(ValueError, match=r"shape \(80, 70\), got \(70, 80\)"):
        save_sheet(tmp_path / "x.png", fundus, np.zeros((70, 80)))


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """What a function draws: for each panel, the points of each line by its label."""

    def draw(function, *arguments, **options):
        figures = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
            function(tmp_path / "unused.png", *arguments, **options)
        [figure] = figures
        return [
            {line.get_label(): line.get_xydata() for line in axes.lines} for axes in figure.axes
        ]

    return draw


def made_up(seed, size, levels):
    rng = np.random.default_rng(seed)
    probability = rng.integers(1, levels, size) / levels
    return probability, rng.random(size) < probability**2, rng.random(size) < 0.3


@pytest.mark.parametrize("levels", [5, 1000])  # few levels: many ties
@pytest.mark.parametrize("masked", [False, True])
def test_score_curves_are_scikit_learns(drawn, levels, masked):
    maps, labels, seconds = zip(*(made_up(s, (9, 11), levels) for s in (0, 1)), strict=True)
    masks = [np.arange(99).reshape(9, 11) % 3 > 0] * 2
    roc, recall = drawn(
        save_score_curves, maps, labels, seconds=seconds, masks=masks if masked else None
    )
    inside = np.stack(masks) if masked else np.ones((2, 9, 11), bool)
    score, truth, second = (np.stack(kind)[inside] for kind in (maps, labels, seconds))
    false_rate, sensitivity, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    area = metrics.roc_auc_score(truth, score)
    assert list(roc) == [f"network, AUC {area:.4f}", "threshold 0.5", "second observer"]
    assert next(iter(roc.values())) == pytest.approx(np.c_[false_rate, sensitivity])
    precision, sensitivity, _ = metrics.precision_recall_curve(truth, score)
    area = metrics.average_precision_score(truth, score)
    assert list(recall) == [f"network, AP {area:.4f}", "threshold 0.5", "second observer"]
    assert next(iter(recall.values())) == pytest.approx(np.c_[sensitivity, precision][::-1])
    for label, vessels in (("threshold 0.5", score > 0.5), ("second observer", second)):
        found = metrics.recall_score(truth, vessels)
        false = 1 - metrics.recall_score(~truth, ~vessels)
        assert roc[label] == pytest.approx(np.array([[false, found]]))
        right = metrics.precision_score(truth, vessels)
        assert recall[label] == pytest.approx(np.array([[found, right]]))


def test_score_curves_of_many_pixels_are_thinned_where_it_does_not_show(drawn):
    probability, label, _ = made_up(2, (400, 500), 10**6)
    roc, recall = (
        next(iter(panel.values())) for panel in drawn(save_score_curves, [probability], [label])
    )
    assert len(roc) == len(recall) <= 2000
    assert roc[0].tolist() == [0, 0]
    assert roc[-1].tolist() == [1, 1]
    assert np.diff(roc, axis=0).sum(1).max() < 0.0012  # even steps, nowhere a corner cut
    area = metrics.roc_auc_score(label.ravel(), probability.ravel())
    assert metrics.auc(*roc.T) == pytest.approx(area, abs=1e-5)
    area = metrics.average_precision_score(label.ravel(), probability.ravel())
    assert metrics.auc(*recall.T) == pytest.approx(area, abs=1e-3)


def test_score_curves_without_second_observer_or_anything_found(drawn):
    label = np.array([[True, False]])
    roc, recall = drawn(save_score_curves, [np.array([[0.4, 0.1]])], [label])
    assert list(roc) == ["network, AUC 1.0000", "threshold 0.5"]
    assert roc["threshold 0.5"].tolist() == [[0, 0]]
    assert recall["threshold 0.5"].tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("probability", "label"),
    [([0.4, 0.1], [False, False]), ([0.4, 0.1], [True, True]), ([1.0, 0.0], [True, False])],
)
def test_score_curves_refuse_what_has_none(tmp_path, probability, label):
    with pytest.raises(ValueError, match="labels must hold vessel and background"):
        save_score_curves(tmp_path / "x.png", [np.array([probability])], [np.array([label])])


def test_score_curves_refuse_second_maps_that_do_not_fit(tmp_path):
    probability, label, second = made_up(3, (6, 7), 100)
    for error, seconds in ((TypeError, [second * 1.0]), (ValueError, [second.T]), (ValueError, [])):
        with pytest.raises(error, match="save_score_curves: "):
            save_score_curves(tmp_path / "x.png", [probability], [label], seconds=seconds)


def test_training_curves_mark_the_lowest_validation_loss(drawn):
    log = [LogEntry(1, 0.3, 0.35), LogEntry(2, 0.2, 0.25), LogEntry(3, 0.1, 0.28)]
    [panel] = drawn(save_training_curves, log)
    assert panel["training"].tolist() == [[1, 0.3], [2, 0.2], [3, 0.1]]
    assert panel["validation"].tolist() == [[1, 0.35], [2, 0.25], [3, 0.28]]
    assert panel["lowest: 0.25, step 2"].tolist() == [[2, 0.25]]


@pytest.mark.parametrize(
    "log",
    [
        [LogEntry(1, 0.3, 0.4)],
        [LogEntry(1, 0.3, 0.4), LogEntry(2, math.nan, math.nan)],  # diverged
        [LogEntry(epoch, 1 / epoch, 1e-3) for epoch in range(1, 300)],
    ],
)
def test_curves_become_pictures(tmp_path, log):
    probability, label, _ = made_up(4, (20, 20), 100)
    save_training_curves(tmp_path / "losses.png", log)
    save_score_curves(tmp_path / "scores.png", [probability], [label])
    for name in ("losses", "scores"):
        picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert (picture == (0, 114, 178)).all(-1).any()  # the blue line


def test_training_curves_need_an_epoch(tmp_path):
    with pytest.raises(ValueError, match="log must hold at least 1 entry, got 0"):
        save_training_curves(tmp_path / "x.png", [])
