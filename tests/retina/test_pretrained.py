"""The weights that come with the library."""

import json
from pathlib import Path

import pytest

from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    list_drive,
    load_pretrained,
    pooled_scores,
    segment,
)
from torchattn_blocks.retina import weights as weights_module
from torchattn_blocks.retina.weights import shipped

RESULTS = Path(__file__).parents[2] / "docs" / "results"
# Where each was scored.
REPORTS = {
    "drive": "drive/rsan/augment/seed-0/last",
    "drive-paper": "drive/rsan/paper/seed-0/last",
}


def test_all_are_known_here():
    assert shipped() == sorted(REPORTS)


@pytest.mark.parametrize("name", REPORTS)
def test_each_is_small_and_has_a_card(name):
    path = Path(weights_module.__file__).parent / "pretrained" / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    assert path.with_suffix(".md").is_file()


@pytest.mark.parametrize("name", ["drive", pytest.param("drive-paper", marks=pytest.mark.slow)])
def test_scores_of_the_report_again(name, real_data):
    trained = load_pretrained(name)
    report = json.loads((RESULTS / REPORTS[name] / "report.json").read_text())
    told, known = report["weights"]["about"], trained.settings.about
    assert (told["recipe"], told["epoch"]) == (known["recipe"], known["epoch"])
    assert told["validation_loss"] == pytest.approx(known["validation_loss"], rel=1e-5)
    test = [files.read() for files in list_drive(real_data / "DRIVE", "test")]
    assert tuple(fundus.name for fundus in test) == DRIVE_PROTOCOL.test
    maps = [segment(fundus.image, trained, fov=fundus.fov) for fundus in test]
    scores = pooled_scores(maps, [fundus.label for fundus in test])
    assert scores == pytest.approx(report["whole"]["pooled"], abs=5e-5)
