"""The weights of the distribution torchattn-retina-weights."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torchattn_retina_weights

from torchattn_blocks import DropBlock2d
from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    Evaluation,
    list_chase_db1,
    list_drive,
    load_pretrained,
    on_crops,
    pooled_scores,
    segment,
    segment_monte_carlo,
    synthesize,
)
from torchattn_blocks.retina.weights import check_trained, named_weights, shipped

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "docs" / "results" / "weights"
CLONED = ROOT / "weights" / "torchattn_retina_weights"


def images_to_score(name, root):
    if name == "drive":
        files = list_drive(root / "DRIVE", "training") + list_drive(root / "DRIVE", "test")
        return [file.read() for file in DRIVE_PROTOCOL.split(files).test]
    return [f.read() for f in CHASE_DB1_PROTOCOL.split(list_chase_db1(root / "CHASE_DB1")).test]


def test_all_are_known_here():
    assert shipped() == ["chase_db1", "chase_db1-v1", "drive"]


@pytest.mark.parametrize("name", shipped())
def test_each_is_small_and_has_a_card(name):
    path = Path(torchattn_retina_weights.__file__).parent / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    assert f'load_pretrained("{name}")' in path.with_suffix(".md").read_text()
    settings = load_pretrained(name).settings
    assert settings.about["dataset"] == name.removesuffix("-v1")
    # What DropBlock dropped at the end of the training: a training that goes on, and the passes
    # of segment_monte_carlo, drop as much.
    assert settings.network.p == on_crops(DRIVE_PROTOCOL).p == 0.05


@pytest.mark.skipif(not CLONED.exists(), reason="no clone")
def test_what_is_installed_is_what_the_clone_has():
    """They are a copy: after a change, `pip install -e` has to run again."""
    installed = Path(torchattn_retina_weights.__file__).parent
    names = sorted(path.name for path in CLONED.iterdir() if path.is_file())
    assert names == [
        "__init__.py",
        *sorted(f"{name}.{kind}" for name in shipped() for kind in ("md", "safetensors")),
    ]
    for name in names:
        assert (installed / name).read_bytes() == (CLONED / name).read_bytes()


def test_without_the_distribution_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torchattn_retina_weights", None)
    said = (
        r"shipped weights need torchattn_retina_weights, of the extra \[retina\]\. "
        r"In a clone of the repository: pip install '\.\[retina\]'$"
    )
    with pytest.raises(ModuleNotFoundError, match=f"^{said}") as raised:
        load_pretrained("drive")
    assert raised.value.name == "torchattn_retina_weights"
    assert shipped() == []
    with pytest.raises(FileNotFoundError, match=f"^drive: .* does not exist; {said}"):
        named_weights("drive")
    with pytest.raises(TypeError, match=r"got str\. Pass load_weights\('mine'\)"):
        check_trained("segment", "mine")


@pytest.mark.parametrize(
    ("name", "on", "flips"),
    [
        ("drive", "drive", False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("drive", "drive", True),
                ("drive", "chase_db1", False),
                ("chase_db1", "chase_db1", False),
                ("chase_db1", "chase_db1", True),
                ("chase_db1", "drive", False),
                ("chase_db1-v1", "chase_db1", False),
                ("chase_db1-v1", "chase_db1", True),
                ("chase_db1-v1", "drive", False),
            )
        ),
    ],
)
def test_scores_of_the_report_again(name, on, flips, real_data, tmp_path):
    trained = load_pretrained(name)
    folder = REPORTS / name / f"on-{on}{'-flips' if flips else ''}"
    report = Evaluation.load(folder / "report.json")
    own = replace(report, about={"weights": asdict(trained.settings)})
    own.save(tmp_path / "own.json")  # with six digits
    assert report.about["weights"] == Evaluation.load(tmp_path / "own.json").about["weights"]
    test = images_to_score(on, real_data)
    assert tuple(fundus.name for fundus in test) == report.images
    maps = [segment(fundus.image, trained, fov=fundus.fov, flips=flips) for fundus in test]
    labels = [fundus.label for fundus in test]
    scores = pooled_scores(maps, labels)
    assert scores == pytest.approx(report.whole.pooled, abs=5e-5)
    scores = pooled_scores(maps, labels, masks=[fundus.fov for fundus in test])
    assert scores == pytest.approx(report.fov.pooled, abs=5e-5)


@pytest.mark.slow
def test_shipped_weights_vary_under_their_own_drop_rate():
    """At .15 in place of .05 the deviation on vessels was twice as large."""
    fundus = synthesize(2, height=292, width=283)
    own = load_pretrained("drive")
    heavy = load_pretrained("drive")
    for layer in heavy.model.modules():
        if isinstance(layer, DropBlock2d):
            layer.p = 0.15
    deviations = []
    for trained in (own, heavy):
        _, std = segment_monte_carlo(fundus.image, trained, 8, fov=fundus.fov)
        deviations.append(std[fundus.label].mean())
    assert deviations[0] < 0.65 * deviations[1]
