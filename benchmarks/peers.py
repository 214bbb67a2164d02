"""Other libraries' DropBlock and stochastic depth, and what they are compared with.

Each stands behind one call, `drop(x, p, block)`.

All run in training. A library that is not installed stays in the list, with the reason instead of
its function. Which versions are meant, and how to install them: `peers.txt`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libraries
import torch
from libraries import OURS
from torch import Tensor
from torch.nn import functional as F

from torchattn_blocks.functional import drop_block2d, stochastic_depth

Drop = Callable[[Tensor, float, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Contender(libraries.Contender):
    """One way to drop elements of a feature map."""

    drop: Drop | None
    mask: str  # what one random decision is shared by


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


class Nothing(torch.autograd.Function):
    """The floor as a Python function of autograd: what any layer that is one costs at least."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2.0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2.0


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


def _peer(name: str, library: str, mask: str, load: Callable[[], Drop]) -> Contender:
    try:
        return Contender(name=name, drop=load(), mask=mask, library=library)
    except ModuleNotFoundError as error:
        reason = f"{library} is not installed: {error}"
        return Contender(name=name, drop=None, mask=mask, library=library, missing=reason)


def _torchvision_depth() -> Drop:
    from torchvision.ops import stochastic_depth as drop

    return lambda x, p, block: drop(x, p, "row")


def _timm_depth() -> Drop:
    from timm.layers import drop_path as drop

    return lambda x, p, block: drop(x, p, training=True)


PER_CHANNEL, SHARED, SAMPLE = "each channel", "all channels", "a whole sample"


def _contender(name: str, mask: str, drop: Drop, library: str = "torch") -> Contender:
    return Contender(name=name, drop=drop, mask=mask, library=library)


CONTENDERS = [
    _contender("x * 2.", "none", lambda x, p, block: x * 2.0),
    _contender("x * 2. as an autograd.Function", "none", lambda x, p, block: Nothing.apply(x)),
    _contender("F.dropout", "each element", lambda x, p, block: F.dropout(x, p)),
    _contender("F.dropout2d", "a whole channel", lambda x, p, block: F.dropout2d(x, p)),
    _contender("textbook, max-pooling", PER_CHANNEL, dense),
    _peer("torchvision", "torchvision", PER_CHANNEL, _torchvision),
    _peer("timm, couple_channels=False", "timm", PER_CHANNEL, _timm_per_channel),
    _contender(OURS, PER_CHANNEL, lambda x, p, block: drop_block2d(x, p, block), OURS),
    _contender(
        f"{OURS}, scale=batch",
        PER_CHANNEL,
        lambda x, p, block: drop_block2d(x, p, block, scale="batch"),
        OURS,
    ),
    _contender(
        f"{OURS}, paper, batch",
        PER_CHANNEL,
        lambda x, p, block: drop_block2d(x, p, block, gamma="paper", scale="batch"),
        OURS,
    ),
    _peer("timm", "timm", SHARED, _timm),
    _peer("dropblock", "dropblock", SHARED, _dropblock),
    _contender(
        f"{OURS}, channelwise=False",
        SHARED,
        lambda x, p, block: drop_block2d(x, p, block, channelwise=False),
        OURS,
    ),
    _peer("torchvision, stochastic depth", "torchvision", SAMPLE, _torchvision_depth),
    _peer("timm, drop path", "timm", SAMPLE, _timm_depth),
    _contender(
        f"{OURS}, stochastic depth", SAMPLE, lambda x, p, block: stochastic_depth(x, p), OURS
    ),
]
