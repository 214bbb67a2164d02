"""Reports of evaluations: the chosen threshold, what a report holds, its tables and its file."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from torchattn_blocks.retina import (
    Fundus,
    image_scores,
    list_drive,
    markdown_table,
    pooled_scores,
    synthesize,
)
from torchattn_blocks.retina.evaluation.report import evaluate, evaluation_tables, save_report
from torchattn_blocks.retina.evaluation.threshold import best_threshold

GRID = [percent / 100 for percent in range(1, 100)]


@given(
    seed=st.integers(0, 2**32),
    levels=st.sampled_from([20, 100, 10_000]),  # up to 100, pixels lie on the thresholds
    kind=st.sampled_from([np.float32, np.float64]),
    masked=st.booleans(),
)
@settings(max_examples=25)
def test_best_threshold_is_that_of_99_passes(seed, levels, kind, masked):
    rng = np.random.default_rng(seed)
    maps = [(rng.integers(0, levels, size) / levels).astype(kind) for size in [(5, 9), (8, 3)]]
    labels = [rng.random(m.shape) < m**2 for m in maps]
    masks = [rng.random(m.shape) < 0.7 for m in maps]
    for label, mask in zip(labels, masks, strict=True):
        label[0, 0] = mask[0, 0] = True
    where = {"masks": masks if masked else None}
    with pytest.MonkeyPatch.context() as patch:  # areas take most of the time, F1 alone counts
        for area in ("binary_auroc", "binary_average_precision"):
            patch.setattr(f"torchattn_blocks.retina.evaluation.scores.{area}", lambda *_: math.nan)
        f1 = [pooled_scores(maps, labels, threshold=t, **where)["F1"] for t in GRID]
    tied = [t for t, score in zip(GRID, f1, strict=True) if score == max(f1)]
    expected = min(tied, key=lambda t: (round(abs(t - 0.5), 2), t))
    assert best_threshold(maps, labels, **where) == expected


def test_best_threshold_has_scikit_learns_best_f1():
    rng = np.random.default_rng(0)
    probability = rng.random((40, 50))
    label = rng.random((40, 50)) < probability**3
    scores = [metrics.f1_score(label.ravel(), probability.ravel() > t) for t in GRID]
    chosen = best_threshold([probability], [label])
    assert chosen == GRID[int(np.argmax(scores))]
    assert chosen > 0.5


@pytest.mark.parametrize(
    ("background", "vessel", "threshold"),
    [
        (0.1, 0.9, 0.5),  # .10 to .89 do equally well
        (0.1, 0.305, 0.3),
        (0.72, 0.9, 0.72),  # a pixel at the threshold is not above it
        (0.5, 0.51, 0.5),
        (0.0, 0.015, 0.01),
        (0.99, 1.0, 0.99),
        (0.2, 0.2, 0.19),  # everything is called vessel, which finds the vessel
    ],
)
def test_best_threshold_of_ties_is_nearest_to_a_half(background, vessel, threshold):
    for kind in (np.float32, np.float64):
        probability = np.array([[background, vessel]], kind)
        assert best_threshold([probability], [np.array([[False, True]])]) == threshold


def test_best_threshold_needs_vessels():
    probability, label = np.array([[0.2, 0.8]]), np.array([[False, True]])
    with pytest.raises(ValueError, match=r"labels must hold a vessel pixel .*, got 0"):
        best_threshold([probability], [~label & label])
    with pytest.raises(ValueError, match="labels must hold a vessel pixel"):
        best_threshold([probability], [label], masks=[~label])
    with pytest.raises(ValueError, match="got 1 probabilities, 0 labels"):
        best_threshold([probability], [])


@pytest.fixture(scope="module")
def images() -> list[Fundus]:
    return [synthesize(seed, height=72, width=64) for seed in range(3)]


@pytest.fixture(scope="module")
def maps(images):
    rng = np.random.default_rng(0)
    return [0.4 * fundus.label + 0.55 * rng.random(fundus.label.shape) for fundus in images]


def test_report_has_each_view_of_the_scores(images, maps):
    report = evaluate(images, maps, chosen_threshold=0.6)
    assert list(report) == [
        "images",
        "threshold",
        "whole",
        "fov",
        "chosen",
        "second_observer",
    ]
    assert report["images"] == [fundus.name for fundus in images]
    assert report["threshold"] == 0.5
    assert report["chosen"]["threshold"] == 0.6
    labels, seconds, fovs = (
        [getattr(fundus, kind) for fundus in images] for kind in ("label", "second_label", "fov")
    )
    for part, given_maps, threshold in (
        (report, maps, 0.5),
        (report["chosen"], maps, 0.6),
        (report["second_observer"], seconds, 0.5),
    ):
        for view, masks in (("whole", None), ("fov", fovs)):
            how = {"threshold": threshold, "masks": masks}
            expected = {
                "pooled": pooled_scores(given_maps, labels, **how),
                "per_image": image_scores(given_maps, labels, **how),
            }
            assert repr(part[view]) == repr(expected)  # NaN does not equal NaN
    assert report["whole"]["pooled"]["SPE"] != report["fov"]["pooled"]["SPE"]
    assert math.isnan(report["second_observer"]["fov"]["pooled"]["AUC"])


def test_report_leaves_out_what_was_not_given(images, maps):
    report = evaluate([replace(images[0], second_label=None), *images[1:]], maps)
    assert list(report) == ["images", "threshold", "whole", "fov"]


def test_report_names_the_images_without_labels(images, maps):
    bare = [replace(fundus, name=name) for fundus, name in zip(images, "abc", strict=True)]
    bare[0], bare[2] = (replace(fundus, label=None) for fundus in (bare[0], bare[2]))
    with pytest.raises(
        ValueError, match=r"evaluate: every image must have a label; missing: a, c$"
    ):
        evaluate(bare, maps)


def test_refuses_what_does_not_fit(images, maps):
    with pytest.raises(ValueError, match="got 2 probabilities, 3 labels"):
        evaluate(images, maps[:2])
    with pytest.raises(ValueError, match="got 0 probabilities"):
        evaluate([], [])
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"chosen_threshold must lie .* got {threshold}"):
            evaluate(images, maps, chosen_threshold=threshold)


def test_tables_have_a_row_for_network_and_observer(images, maps):
    report = evaluate(images, maps, chosen_threshold=0.37)
    sections = evaluation_tables(report).split("### ")[1:]
    headings = [section.splitlines()[0] for section in sections]
    assert headings == [
        "Whole images, all pixels pooled",
        "Whole images, mean and standard deviation over images",
        "Within the field of view, all pixels pooled",
        "Within the field of view, mean and standard deviation over images",
    ]
    systems = {
        "network at .5": report,
        "network at the chosen .37": report["chosen"],
        "second observer": report["second_observer"],
    }
    for view, (pooled, each) in (("whole", sections[:2]), ("fov", sections[2:])):
        rows = {title: system[view]["pooled"] for title, system in systems.items()}
        assert pooled.partition("\n\n")[2].strip() == markdown_table(rows)
        rows = {}
        for title, system in systems.items():
            for row, moment in ((title, "mean"), (f"± of {title}", "std")):
                scores = system[view]["per_image"].items()
                rows[row] = {name: score[moment] for name, score in scores}
        assert "clDice" in each
        assert each.partition("\n\n")[2].strip() == markdown_table(rows)


def test_tables_of_a_threshold_chosen_at_a_half_keep_both_rows(images, maps):
    tables = evaluation_tables(evaluate(images, maps, chosen_threshold=0.5))
    assert tables.count("\n| network at .5 ") == 4
    assert tables.count("\n| network at the chosen .5 ") == 4


def test_file_gives_the_same_tables(images, maps, tmp_path):
    report = evaluate(images, maps, chosen_threshold=0.6)
    save_report(tmp_path / "report.json", report)
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read["second_observer"]["whole"]["pooled"]["AUC"] is None
    assert read["whole"]["pooled"]["AUC"] == pytest.approx(report["whole"]["pooled"]["AUC"], 1e-5)
    assert evaluation_tables(read) == evaluation_tables(report)


def test_file_is_strict_json_of_six_digits(tmp_path):
    path = tmp_path / "report.json"
    report = {
        "threshold": 0.5,
        "rows": [math.nan, (1 / 3, 2 / 3e5)],
        "counts": {"epoch": 12345678, "flips": True, "none": None, "name": "01L"},
    }
    save_report(path, report)
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert text.startswith('{\n  "threshold": 0.5,\n')
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "threshold": 0.5,
        "rows": [None, [0.333333, 6.66667e-06]],
        "counts": {"epoch": 12345678, "flips": True, "none": None, "name": "01L"},
    }
    assert math.isnan(report["rows"][0])  # the caller's report is as it was


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "report.json"
    save_report(path, {"F1": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_report(path, {"F1": math.inf})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_report(path, {"F1": {0.5}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"F1": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_second_observer_of_drive(real_data):
    images = [file.read() for file in list_drive(real_data / "DRIVE", "test")]
    report = evaluate(images, [fundus.second_label for fundus in images])
    second = report["second_observer"]
    assert second["whole"]["pooled"]["F1"] == pytest.approx(0.7889, abs=5e-5)
    assert second["whole"]["per_image"]["clDice"]["mean"] == pytest.approx(0.763, abs=5e-4)
    # Inside the field of view there is less of easy background.
    assert second["fov"]["pooled"]["ACC"] == pytest.approx(0.9473, abs=5e-5)
