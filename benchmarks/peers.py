"""Other libraries' DropBlock and what it is compared with, behind one call: `drop(x, p, block)`.

All run in training. A library that is not installed stays in the list, with the reason instead of
its function. Which versions are meant, and how to install them: `peers.txt`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn import functional as F

import torchattn_blocks
from torchattn_blocks.functional import drop_block2d

Drop = Callable[[Tensor, float, int], Tensor]


@dataclass(frozen=True)
class Contender:
    """One way to drop elements of a feature map."""

    name: str
    drop: Drop | None
    mask: str  # what one random decision is shared by
    library: str = "torch"
    missing: str = ""


def dense(x: Tensor, p: float, block: int) -> Tensor:
    """DropBlock as the paper writes it, with max-pooling; one mask per channel.

    A draw for every place where a whole block fits, each grown to a block, then the paper's ratio
    of all elements to kept ones.
    """
    height, width = x.shape[2:]
    rows, columns = min(block, height), min(block, width)
    cells = (height - rows + 1, width - columns + 1)
    gamma = p / (rows * columns) * height * width / (cells[0] * cells[1])
    seeds = torch.empty(*x.shape[:2], *cells, dtype=x.dtype, device=x.device).bernoulli_(gamma)
    # Padded by a block less one on every side, each window holds the cells that cover its element.
    seeds = F.pad(seeds, (columns - 1, columns - 1, rows - 1, rows - 1))
    kept = 1 - F.max_pool2d(seeds, (rows, columns), stride=1)
    return x * kept * (kept.numel() / kept.sum(dtype=torch.float32)).to(x.dtype)


def _torchvision() -> Drop:
    from torchvision.ops import drop_block2d as drop

    return lambda x, p, block: drop(x, p, block, training=True)


def _timm() -> Drop:
    from timm.layers import drop_block_2d as drop

    return lambda x, p, block: drop(x, p, block)  # its default: one mask for all channels


def _timm_per_channel() -> Drop:
    from timm.layers import drop_block_2d as drop

    return lambda x, p, block: drop(x, p, block, couple_channels=False)


def _dropblock() -> Drop:
    from dropblock import DropBlock2D

    return lambda x, p, block: DropBlock2D(p, block)(x)


def define_torchvision_operators() -> None:
    """Let torchvision be imported beside a torch that its compiled part was not built for.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU-only torch its compiled part does
    not load, and its Python part then looks for operators that nobody has defined. DropBlock uses
    none of them.
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


def _peer(name: str, library: str, mask: str, load: Callable[[], Drop]) -> Contender:
    try:
        return Contender(name, load(), mask, library)
    except ModuleNotFoundError as error:
        return Contender(name, None, mask, library, f"{library} is not installed: {error}")


define_torchvision_operators()

FLOOR = Contender("x * 2.", lambda x, p, block: x * 2.0, "none")

OURS = "torchattn_blocks"
PER_CHANNEL, SHARED = "each channel", "all channels"

CONTENDERS = [
    FLOOR,
    Contender("F.dropout", lambda x, p, block: F.dropout(x, p), "each element"),
    Contender("F.dropout2d", lambda x, p, block: F.dropout2d(x, p), "a whole channel"),
    Contender("textbook, max-pooling", dense, PER_CHANNEL),
    _peer("torchvision", "torchvision", PER_CHANNEL, _torchvision),
    _peer("timm, couple_channels=False", "timm", PER_CHANNEL, _timm_per_channel),
    Contender(OURS, lambda x, p, block: drop_block2d(x, p, block), PER_CHANNEL, OURS),
    Contender(
        f"{OURS}, paper, batch",
        lambda x, p, block: drop_block2d(x, p, block, gamma="paper", scale="batch"),
        PER_CHANNEL,
        OURS,
    ),
    _peer("timm", "timm", SHARED, _timm),
    _peer("dropblock", "dropblock", SHARED, _dropblock),
    Contender(
        f"{OURS}, channelwise=False",
        lambda x, p, block: drop_block2d(x, p, block, channelwise=False),
        SHARED,
        OURS,
    ),
]


def missing() -> list[str]:
    """What is not installed."""
    return sorted({c.missing for c in CONTENDERS if c.missing})


def versions() -> dict[str, str]:
    """The version of each library that is installed."""
    others = {c.library for c in CONTENDERS if not c.missing} - {OURS}
    return {OURS: torchattn_blocks.__version__, **{name: version(name) for name in sorted(others)}}
