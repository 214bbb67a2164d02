"""Settings for all tests."""

import os
import sys
from pathlib import Path

# Tests run in two processes. With several threads each, these would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# Triton reads it when it is imported, which torch may do before a test. Without a GPU nobody else
# needs what is compiled.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The examples' networks are tested, and some tests use them.
sys.path.append(str(Path(__file__).parents[1] / "examples" / "hosts"))

# The same examples in every run, so that a run repeats; no deadline, for the machine may be shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def one_process_group(tmp_path):
    """A process group of this process alone, as a mesh."""
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()
