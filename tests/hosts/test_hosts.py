"""Our layers in networks of other libraries. Tests of one that is not installed are skipped."""

import importlib
import json
import sys

import pytest
import torch
from checks import CHECKS
from hosts import CASES, ROOT, import_torchvision

RECORDED = {
    row["network"]: row
    for row in json.loads((ROOT / "docs" / "hosts" / "results.json").read_text())["results"]
}


def need(library):
    """Skip the test unless the library is there."""
    import_torchvision()
    pytest.importorskip(library, reason=f"{library} is not installed")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_changed_network(case, check):
    need(case.library)
    assert CHECKS[check](case) == RECORDED[case.name][check]


@pytest.mark.parametrize(
    ("script", "library"),
    [
        ("torch_resnet", "torch"),
        ("timm_resnet", "timm"),
        ("smp_unet", "segmentation_models_pytorch"),
        ("monai_unet", "monai"),
        ("torchvision_convnext", "torchvision"),
    ],
)
def test_an_example_runs(script, library, tmp_path, monkeypatch, capsys):
    need(library)
    arguments = ["--steps", "2", "--side", "64", "--out", str(tmp_path / "x.png")]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    torch.manual_seed(0)
    importlib.import_module(script).main()
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert "fired  calls" in capsys.readouterr().out
