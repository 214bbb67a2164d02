"""clDice: whether vessels are connected as they should be."""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


def cl_dice(vessels: NDArray[np.bool_], label: NDArray[np.bool_]) -> float:
    """Compare the centre lines of two vessel masks: gaps lower the score, widths hardly matter.

    It is the harmonic mean of two fractions: how much of the skeleton of `vessels` lies in `label`,
    and how much of the skeleton of `label` lies in `vessels` (Shit et al., "clDice - a novel
    topology-preserving loss function for tubular structure segmentation", CVPR 2021, eq. 3).

    Args:
        vessels: The vessel mask to score, shape (H, W).
        label: The vessel mask to compare it with, shape (H, W).

    Returns:
        A score between 0 and 1, or NaN if both masks are empty.

    Raises:
        TypeError: If a mask is not a NumPy array of type bool.
        ValueError: If the masks are not of one shape (H, W).

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import cl_dice
        >>> label = np.zeros((9, 20), bool)
        >>> label[3:6] = True
        >>> broken = label.copy()
        >>> broken[:, 8:12] = False
        >>> cl_dice(label, label), round(cl_dice(broken, label), 2)
        (1.0, 0.88)
    """
    for name, mask in {"vessels": vessels, "label": label}.items():
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
            raise TypeError(f"cl_dice: {name} must be a NumPy array of type bool, got {got}")
    if vessels.shape != label.shape or vessels.ndim != 2:
        shapes = f"{vessels.shape} and {label.shape}"
        raise ValueError(f"cl_dice: vessels and label must have one shape (H, W), got {shapes}")
    return VesselMask(vessels).cl_dice(VesselMask(label))


class VesselMask:
    """A vessel mask (H, W). Its skeleton is computed at most once, when it is needed."""

    def __init__(self, pixels: NDArray[np.bool_]) -> None:
        self.pixels = pixels

    @cached_property
    def skeleton(self) -> NDArray[np.bool_]:
        """The centre lines, shape (H, W)."""
        # A new array made by NumPy: scikit-image 0.26 refuses read-only arrays, and masks from
        # other libraries can crash it.
        lines: NDArray[np.bool_] = skeletonize(self.pixels & True)
        return lines

    def inside(self, mask: NDArray[np.bool_]) -> "VesselMask":
        """The part inside a mask: this same object if all of it is inside."""
        cut = self.pixels & mask
        whole = np.count_nonzero(cut) == np.count_nonzero(self.pixels)
        return self if whole else VesselMask(cut)

    def cl_dice(self, label: "VesselMask") -> float:
        """See the function `cl_dice`."""
        right = int(np.count_nonzero(self.skeleton & label.pixels))
        found = int(np.count_nonzero(label.skeleton & self.pixels))
        total, true_total = (int(np.count_nonzero(m.skeleton)) for m in (self, label))
        if total == 0 or true_total == 0:
            return math.nan if total == true_total else 0.0
        if right == 0 or found == 0:
            return 0.0
        return 2 / (total / right + true_total / found)  # the harmonic mean of the two fractions
