"""Evaluations: the chosen threshold, what an evaluation holds, its tables and its file."""

import gc
import json
import math
import re
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from torchattn_blocks.retina import (
    Evaluation,
    Fundus,
    best_threshold,
    evaluate,
    evaluation_rows,
    evaluation_tables,
    image_scores,
    list_drive,
    markdown_table,
    pooled_scores,
    save_report,
    synthesize,
)

GRID = [percent / 100 for percent in range(1, 100)]
REPORTS = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("report.json"))


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


@pytest.fixture
def evaluation(images, maps):
    return evaluate(images, maps, chosen_threshold=0.37)


def expected_views(maps, labels, fovs, threshold):
    """The scores that stand in a report, by the functions that score one view alone."""
    return {
        view: {
            "pooled": pooled_scores(maps, labels, threshold=threshold, masks=masks),
            "per_image": image_scores(maps, labels, threshold=threshold, masks=masks),
        }
        for view, masks in (("whole", None), ("fov", fovs))
    }


def test_it_has_each_view_of_the_scores(images, maps, evaluation):
    labels, seconds, fovs = (
        [getattr(fundus, kind) for fundus in images] for kind in ("label", "second_label", "fov")
    )
    assert evaluation.images == tuple(fundus.name for fundus in images)
    for system, scored, threshold in (
        (evaluation.network, maps, 0.5),
        (evaluation.chosen, maps, 0.37),
        (evaluation.second_observer, seconds, 0.5),
    ):
        assert system.threshold == threshold
        expected = expected_views(scored, labels, fovs, threshold)
        assert repr(system.as_data()) == repr(expected)  # NaN does not equal NaN
    assert evaluation.threshold == 0.5
    assert (evaluation.whole, evaluation.fov) == (evaluation.network.whole, evaluation.network.fov)
    assert evaluation.whole.pooled["SPE"] != evaluation.fov.pooled["SPE"]
    assert math.isnan(evaluation.second_observer.fov.pooled["AUC"])


def test_vessels_outside_the_field_of_view_count_on_the_whole_image_alone(images, maps):
    """Then the two views have different skeletons."""
    for i, fundus in enumerate(images):
        label, second = fundus.label.copy(), fundus.second_label.copy()
        label[:3] = second[1:5] = True
        maps = [*maps[:i], np.where(fundus.fov, maps[i], 0.9), *maps[i + 1 :]]
        images = [*images[:i], replace(fundus, label=label, second_label=second), *images[i + 1 :]]
    labels, seconds, fovs = (
        [getattr(fundus, kind) for fundus in images] for kind in ("label", "second_label", "fov")
    )
    evaluation = evaluate(images, maps)
    for system, scored in ((evaluation.network, maps), (evaluation.second_observer, seconds)):
        assert repr(system.as_data()) == repr(expected_views(scored, labels, fovs, 0.5))
        assert system.whole.per_image["clDice"] != system.fov.per_image["clDice"]


def test_it_leaves_out_what_was_not_given(images, maps):
    bare = replace(images[1], second_label=None)
    evaluation = evaluate([images[0], bare, images[2]], maps)
    assert (evaluation.chosen, evaluation.second_observer) == (None, None)
    assert list(evaluation.as_data()) == ["images", "threshold", "whole", "fov"]


def test_read_only_arrays_are_scored(images, maps, evaluation):
    def read_only(array):
        array = array.copy()
        array.setflags(write=False)
        return array

    names = ("image", "label", "fov", "second_label")
    images = [replace(f, **{name: read_only(getattr(f, name)) for name in names}) for f in images]
    again = evaluate(images, [*map(read_only, maps)], chosen_threshold=0.37)
    assert again.tables() == evaluation.tables()


def test_images_are_let_go_one_after_the_other(images, maps, evaluation):
    alive: list[weakref.ref] = []
    most = []

    def one_by_one(values):
        for value in values:
            new = replace(value) if isinstance(value, Fundus) else value.copy()
            alive.append(weakref.ref(new))
            yield new
            del new
            gc.collect()
            most.append(sum(ref() is not None for ref in alive))

    again = evaluate(one_by_one(2 * images), one_by_one(2 * maps), chosen_threshold=0.37)
    assert again.whole.pooled == pytest.approx(evaluation.whole.pooled)
    assert len(alive) == 12
    assert max(most) <= 4  # an image and its map, and the next ones


def test_refuses_what_does_not_fit(images, maps):
    label = images[0].label
    for bad, message in (
        ({"images": images, "probabilities": maps[:2]}, "probabilities has only 2$"),
        ({"images": images[:1], "probabilities": maps}, "images has only 1$"),
        ({"images": [], "probabilities": []}, "images must hold at least 1 image, got none$"),
        (
            {"images": [images[0], replace(images[1], name="b", label=None)]},
            r"every image must have a label; missing: b$",
        ),
        (
            {"images": [replace(images[0], name="dark", fov=label & ~label)]},
            "image dark must have a field of view, got none$",
        ),
        (
            {"probabilities": [maps[0], maps[1] * 2]},
            r"\[0, 1\], .* for image synthetic-0001$",
        ),
        (
            {"probabilities": [maps[0][1:]]},
            r"the shape of their image, \(72, 64\), got \(71, 64\) for image synthetic-0000$",
        ),
    ):
        with pytest.raises(ValueError, match=f"^evaluate: .*{message}"):
            evaluate(**{"images": images, "probabilities": maps} | bad)
    with pytest.raises(TypeError, match="evaluate: probabilities must be NumPy arrays, got list"):
        evaluate(images, [m.tolist() for m in maps])
    with pytest.raises(TypeError, match="evaluate: probabilities must be NumPy arrays, got None"):
        evaluate(images, [*maps[:2], None])
    with pytest.raises(TypeError, match="evaluate: images must be a Fundus, got None"):
        evaluate([images[0], None], maps)
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"chosen_threshold must lie .* got {threshold}"):
            evaluate(images, maps, chosen_threshold=threshold)


def test_tables_have_a_row_for_network_and_observer(evaluation):
    sections = evaluation.tables().split("### ")[1:]
    headings = [section.splitlines()[0] for section in sections]
    assert headings == [
        "Whole images, all pixels pooled",
        "Whole images, mean and standard deviation over images",
        "Within the field of view, all pixels pooled",
        "Within the field of view, mean and standard deviation over images",
    ]
    data = evaluation.as_data()
    systems = {
        "network at .5": data,
        "network at the chosen .37": data["chosen"],
        "second observer": data["second_observer"],
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
    tables = evaluate(images, maps, chosen_threshold=0.5).tables()
    assert tables.count("\n| network at .5 ") == 4
    assert tables.count("\n| network at the chosen .5 ") == 4


def test_rows_hold_every_score(evaluation):
    data, rows = evaluation.as_data(), evaluation.rows()
    assert len(rows) == 2 * 3 * 3  # views, systems, statistics
    second = data["second_observer"]["fov"]["per_image"]
    [row] = [
        row
        for row in rows
        if (row["view"], row["system"], row["statistic"]) == ("fov", "second observer", "std")
    ]
    assert list(row)[:3] == ["view", "system", "statistic"]
    for name, score in second.items():
        assert row[name] == (None if math.isnan(score["std"]) else score["std"])
    assert rows[0]["clDice"] is None  # pooled


def test_a_file_gives_the_evaluation_again(evaluation, tmp_path):
    evaluation = replace(evaluation, about={"dataset": "mine", "flips": False, "chosen_on": ["a"]})
    path = tmp_path / "report.json"
    evaluation.save(path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert list(read)[:5] == ["dataset", "flips", "chosen_on", "images", "threshold"]
    assert read["second_observer"]["whole"]["pooled"]["AUC"] is None
    assert read["whole"]["pooled"]["AUC"] == pytest.approx(evaluation.whole.pooled["AUC"], 1e-5)
    again = Evaluation.load(path)
    assert again.tables() == evaluation.tables()
    assert again.about == evaluation.about
    assert (again.chosen.threshold, again.second_observer.threshold) == (0.37, 0.5)
    assert math.isnan(again.second_observer.fov.per_image["AUC"].mean)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_the_committed_reports_are_read_and_written_byte_for_byte(path, tmp_path):
    assert len(REPORTS) > 10
    evaluation = Evaluation.load(path)
    evaluation.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert evaluation.tables().count("\n| network at .5 ") == 4


def test_a_file_is_strict_json_of_six_digits(evaluation, tmp_path):
    path = tmp_path / "report.json"
    about = {
        "rows": [math.nan, (1 / 3, 2 / 3e5)],
        "counts": {"epoch": 12345678, "flips": True, "none": None, "name": "01L"},
    }
    evaluation = replace(evaluation, about=about)
    evaluation.save(path)
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert text.startswith('{\n  "rows": [\n    null,')
    assert text.endswith("}\n")
    read = json.loads(text)
    assert read["rows"] == [None, [0.333333, 6.66667e-06]]
    assert read["counts"] == {"epoch": 12345678, "flips": True, "none": None, "name": "01L"}
    assert math.isnan(about["rows"][0])  # the caller's dictionary is as it was


def test_what_cannot_be_written_leaves_the_file_that_was_there(evaluation, tmp_path):
    path = tmp_path / "report.json"
    evaluation.save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(evaluation, about={"F1": math.inf}).save(path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        replace(evaluation, about={"F1": {0.5}}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"/folder'$"):  # it names the file, no other
        evaluation.save(tmp_path / "folder")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "line 1"),
        ("[]", "list"),
        ("{}", "data must hold 'images'"),
        ('{"images": "abc", "threshold": 0.5}', "images must be a list or a tuple, got str"),
        ('{"images": ["a"], "threshold": "0.5", "whole": {}}', "must be a number, got '0.5'"),
        (f'{{"images": ["a"], "threshold": 1{400 * "0"}, "whole": {{}}}}', "too large"),
        ('{"images": ["a"], "threshold": 0.5, "whole": {}}', "data must hold 'per_image'"),
        ('{"images": ["a"], "threshold": 0.5, "whole": 3}', "int"),
        ('{"images": ["a"], "threshold": null}', "data must hold 'whole'"),
        ("\udcff", "utf-8"),
    ],
)
def test_what_is_no_report_is_named(content, fault, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: not the report of .*{fault}"):
        Evaluation.load(path)
    with pytest.raises(TypeError, match="int"):
        Evaluation.load(5)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Evaluation.load(tmp_path / "nowhere.json")


def test_what_cannot_be_an_evaluation(evaluation):
    for name in ("images", "threshold", "whole", "fov", "chosen", "second_observer"):
        with pytest.raises(ValueError, match=rf"about must not hold images, .* got \['{name}'\]$"):
            replace(evaluation, about={name: 3})
    with pytest.raises(TypeError, match="Evaluation: about must be a Mapping, got list"):
        replace(evaluation, about=[])
    view = evaluation.whole
    for bare, kind in (
        (replace(view, pooled={"F1": 0.8}), "pooled"),
        (replace(view, per_image={}), "per_image"),
    ):
        second = replace(evaluation.second_observer, fov=bare)
        with pytest.raises(ValueError, match=f"Evaluation: {kind} must hold the same scores"):
            replace(evaluation, second_observer=second)


def test_the_functions_of_before_do_the_same_with_a_warning(evaluation, tmp_path):
    data = evaluation.as_data()
    evaluation.save(tmp_path / "new.json")
    for report in (evaluation, data, json.loads((tmp_path / "new.json").read_text())):
        with pytest.warns(DeprecationWarning, match="evaluation_tables is deprecated"):
            assert evaluation_tables(report) == evaluation.tables()
        with pytest.warns(DeprecationWarning, match="evaluation_rows is deprecated"):
            assert [row["system"] for row in evaluation_rows(report)] == [
                row["system"] for row in evaluation.rows()
            ]
        with pytest.warns(DeprecationWarning, match="save_report is deprecated") as said:
            save_report(tmp_path / "old.json", report)
        assert said[0].filename == __file__
        assert (tmp_path / "old.json").read_bytes() == (tmp_path / "new.json").read_bytes()
    del data["images"]
    with pytest.warns(DeprecationWarning, match="of the Evaluation that evaluate returns"):
        assert evaluation_tables(data) == evaluation.tables()
    with pytest.warns(DeprecationWarning, match="of the Evaluation that evaluate returns"):
        save_report(tmp_path / "any.json", {"F1": 0.82221379, "AUC": math.nan})
    assert json.loads((tmp_path / "any.json").read_text()) == {"F1": 0.822214, "AUC": None}


@pytest.mark.parametrize(
    "read",
    [
        lambda e: e["fov"]["pooled"]["F1"],
        lambda e: ("chosen" in e, "nothing" in e),
        lambda e: (e.get("threshold"), e.get("nothing"), e.get("nothing", 3)),
        list,
        len,
        lambda e: [*e.keys()],
        lambda e: repr([*e.values()]),
        lambda e: repr([*e.items()]),
        lambda e: repr(e.copy()),
        lambda e: repr(dict(e)),
        lambda e: repr({**e}),
        lambda e: repr({"dataset": "mine"} | e),
        lambda e: repr(e | {"dataset": "mine"}),
    ],
)
def test_an_evaluation_is_read_by_keys_with_a_warning(read, evaluation):
    with pytest.warns(DeprecationWarning, match="use its attributes, or as_data") as said:
        found = read(evaluation)
    assert found == read(evaluation.as_data())
    assert {warning.filename for warning in said} == {__file__}
    assert evaluation  # without a warning


def test_second_observer_of_drive(real_data):
    images = [file.read() for file in list_drive(real_data / "DRIVE", "test")]
    second = evaluate(images, [fundus.second_label for fundus in images]).second_observer
    assert second.whole.pooled["F1"] == pytest.approx(0.7889, abs=5e-5)
    assert second.whole.per_image["clDice"].mean == pytest.approx(0.763, abs=5e-4)
    # Inside the field of view there is less of easy background.
    assert second.fov.pooled["ACC"] == pytest.approx(0.9473, abs=5e-5)
