"""The attention layers on a GPU: as on the CPU, and deterministic."""

import pytest
import torch
from contract_rows import ROWS

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

KINDS = ("Spatial", "Channel", "CBAM", "Squeeze", "Efficient", "Concurrent", "AttentionGate")


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name.startswith(KINDS)], ids=lambda row: row.name
)
def test_as_on_the_cpu_and_deterministic(row):
    layer, x = row.make().double(), row.image(dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        here = x.to(device).requires_grad_()
        # Interpolation, in a gate of another size, is deterministic on request alone.
        torch.use_deterministic_algorithms(device == "cuda")
        try:
            y = layer.to(device)(here)
            y.square().sum().backward()
        finally:
            torch.use_deterministic_algorithms(False)
        found.append((y.cpu(), here.grad.cpu()))
    torch.testing.assert_close(*found)
