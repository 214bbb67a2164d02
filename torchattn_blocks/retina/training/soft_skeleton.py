"""How many iterations the soft skeleton of clDice needs to see the widest vessels."""

from collections.abc import Iterable
from itertools import accumulate

import torch
from monai.losses.cldice import soft_erode, soft_open
from torch import Tensor

# The training masks of CHASE_DB1 lose 35 % with MONAI's default of 3 iterations, 0.22 % with 10;
# DRIVE's masks lose 2.9 % with 3, 0.17 % with 5. With the larger numbers, they only lose a few
# pixels where vessels join.
_LOST = 0.0025


def iterations_for(labels: Iterable[Tensor]) -> int:
    """The fewest iterations that leave at most 0.25 % of the soft skeleton of vessel masks unseen.

    The soft skeleton of Shit et al. (2021) peels vessels from outside, two pixels of width at a
    time: after k iterations it has no line where a vessel is wider than 2 k + 2 pixels, and the
    loss cannot tell such a vessel from none.

    Args:
        labels: Vessel masks of shape (1, H, W), values between 0 and 1.

    Returns:
        The number of iterations; 0 without vessels.

    Example:
        >>> import torch
        >>> from torchattn_blocks.retina.training.soft_skeleton import iterations_for
        >>> label = torch.zeros(1, 32, 64)
        >>> label[:, 10:19] = 1  # a vessel of 9 pixels
        >>> iterations_for([label])
        4
    """
    lost = unseen(labels)
    return next((k for k, share in enumerate(lost) if share <= _LOST), 0)


def unseen(labels: Iterable[Tensor]) -> list[float]:
    """The share of the soft skeleton of vessel masks that is unseen after 0, 1, 2, ... iterations.

    Empty without vessels.
    """
    found: list[float] = []  # the length that each iteration adds, summed over images
    for label in labels:
        for i, length in enumerate(_lengths(label[None])):
            found[i : i + 1] = [length + (found[i] if i < len(found) else 0.0)]
    total = sum(found)
    return [1 - seen / total for seen in accumulate(found)] if total else []


def _lengths(x: Tensor) -> list[float]:
    """What each iteration adds to one mask's soft skeleton, until nothing is left of the mask."""
    skeleton, lengths, before = torch.zeros_like(x), [], torch.zeros_like(x)
    while not torch.equal(x, before):  # then nothing is left, or an image that is all vessel
        line = (x - soft_open(x)).relu()
        line = (line - skeleton * line).relu()
        skeleton = skeleton + line
        lengths.append(line.sum().item())
        x, before = soft_erode(x), x
    return lengths
