"""The weights that come with the library."""

import json
from pathlib import Path

import pytest

from torchattn_blocks.retina import (
    CHASE_DB1_PROTOCOL,
    DRIVE_PROTOCOL,
    list_chase_db1,
    list_drive,
    load_pretrained,
    pooled_scores,
    segment,
)
from torchattn_blocks.retina import weights as weights_module
from torchattn_blocks.retina.weights import shipped

REPORTS = Path(__file__).parents[2] / "docs" / "results" / "weights"


def images_to_score(name, root):
    if name == "drive":
        files = list_drive(root / "DRIVE", "training") + list_drive(root / "DRIVE", "test")
        return [file.read() for file in DRIVE_PROTOCOL.split(files).test]
    return [f.read() for f in CHASE_DB1_PROTOCOL.split(list_chase_db1(root / "CHASE_DB1")).test]


def test_all_are_known_here():
    assert shipped() == ["chase_db1", "drive"]


@pytest.mark.parametrize("name", shipped())
def test_each_is_small_and_has_a_card(name):
    path = Path(weights_module.__file__).parent / "pretrained" / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    assert f'load_pretrained("{name}")' in path.with_suffix(".md").read_text()
    assert load_pretrained(name).settings.about["dataset"] == name


@pytest.mark.parametrize("name", ["drive", pytest.param("chase_db1", marks=pytest.mark.slow)])
def test_scores_of_the_report_again(name, real_data):
    trained = load_pretrained(name)
    report = json.loads((REPORTS / name / f"on-{name}" / "report.json").read_text())
    assert report["weights"]["about"] == dict(trained.settings.about)
    test = images_to_score(name, real_data)
    assert [fundus.name for fundus in test] == report["images"]
    maps = [segment(fundus.image, trained, fov=fundus.fov) for fundus in test]
    scores = pooled_scores(maps, [fundus.label for fundus in test])
    assert scores == pytest.approx(report["whole"]["pooled"], abs=5e-5)
