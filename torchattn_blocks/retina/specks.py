"""Vessel masks without specks."""

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label


def without_specks(
    vessels: NDArray[np.bool_], least: float, connectivity: int = 2
) -> NDArray[np.bool_]:
    """Leave out connected vessels of fewer than `least` pixels.

    Diagonal neighbours connect, unless the connectivity is 1.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina.specks import without_specks
        >>> vessels = np.array([[True, True, False, True], [False, False, False, False]])
        >>> without_specks(vessels, 2)[0].tolist()
        [True, True, False, False]
    """
    components = label(vessels, connectivity=connectivity)
    sizes = np.bincount(components.ravel())
    return vessels & (sizes >= least)[components]
