"""The libraries that are compared: which are installed, in which versions."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch

import torchattn_blocks

OURS = "torchattn_blocks"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is measured, by name. One whose library is not installed says so in `missing`."""

    name: str
    library: str = "torch"
    missing: str = ""

    @property
    def ours(self) -> bool:
        return self.library == OURS


def missing(contenders: Sequence[Contender]) -> list[str]:
    """What is not installed."""
    return sorted({c.missing for c in contenders if c.missing})


def versions(contenders: Sequence[Contender]) -> dict[str, str]:
    """The version of each library that is installed."""
    others = {c.library for c in contenders if not c.missing} - {OURS}
    return {OURS: torchattn_blocks.__version__, **{name: version(name) for name in sorted(others)}}


def define_torchvision_operators() -> None:
    """Let torchvision be imported beside a torch that its compiled part was not built for.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU-only torch its compiled part does
    not load, and its Python part then looks for operators that nobody has defined. What is measured
    here uses none of them.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")


_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # they live as long as this does

define_torchvision_operators()
