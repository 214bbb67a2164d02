"""The lines on the page on weights: shipped networks as ONNX, run at odd sizes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from torchattn_blocks.retina import load_pretrained

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
CODE, RUN = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "onnx" in code)
SIZES = [(1, 64, 64), (1, 1, 1), (2, 57, 41), (1, 21, 90), (3, 8, 2), (1, 585, 564)]


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("drive", 1e-5),
        pytest.param("chase_db1", 1e-5, marks=pytest.mark.slow),
        pytest.param("chase_db1-v1", 1e-4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own parts
def test_shipped_weights_run_in_onnxruntime(name, bound, tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    exec(CODE.replace("drive", name), {})
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.onnx"]
    made = {}
    exec(RUN.replace("drive", name), made)
    assert made["probability"].shape == (585, 564)
    session = made["session"]
    assert [one.name for one in session.get_inputs()] == ["image"]
    assert [one.name for one in session.get_outputs()] == ["logits"]
    model, largest = load_pretrained(name).model, 0.0
    for batch, height, width in SIZES:
        x = torch.rand(batch, 3, height, width)
        (logits,) = session.run(None, {"image": x.numpy()})
        with torch.no_grad():
            expected = model.predict_proba(x).numpy()
        assert logits.shape == expected.shape
        largest = max(largest, np.abs(1 / (1 + np.exp(-logits)) - expected).max())
    print(f"largest difference of probabilities: {largest:.1e}")  # for `pytest -s`
    assert largest < bound
