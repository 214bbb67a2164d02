"""The presets against the record that `python tests/models/golden.py` made."""

import json

import pytest
import torch
from golden import CASES, RECORD, found, seeded

RECORDED = json.loads(RECORD.read_text())


def test_all_is_recorded():
    assert [*RECORDED] == [*CASES]


@pytest.mark.parametrize("case", CASES)
def test_seeded_presets_give_what_was_recorded(case):
    outputs = found(seeded(case))
    for mode, logits in RECORDED[case].items():
        torch.testing.assert_close(
            torch.tensor(outputs[mode]), torch.tensor(logits), rtol=1e-3, atol=1e-3
        )
