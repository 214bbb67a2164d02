"""The presets against the record that `python tests/models/golden.py` made."""

import json

import pytest
import torch
from golden import RECORD, found, seeded

RECORDED = json.loads(RECORD.read_text())


@pytest.mark.parametrize("name", RECORDED)
def test_seeded_presets_give_what_was_recorded(name):
    preset, size = name.split(", up_kernel_size=")
    outputs = found(seeded(preset, int(size)))
    for mode, logits in RECORDED[name].items():
        torch.testing.assert_close(
            torch.tensor(outputs[mode]), torch.tensor(logits), rtol=1e-3, atol=1e-3
        )
