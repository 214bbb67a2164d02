"""One fundus image and its masks: the value that every part of the package takes or returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fundus:
    """A colour fundus image with its masks, all of one height and width.

    Attributes:
        name: Identifier of the image within its data set, such as ``"21"`` or ``"01L"``.
        image: RGB values of shape (H, W, 3), 0 to 255.
        label: Vessel mask by the first observer, shape (H, W), or None if there is none.
        fov: Field of view, shape (H, W), True where the camera saw the retina.
        second_label: Vessel mask by the second observer, shape (H, W), or None.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks.retina import Fundus
        >>> image = np.zeros((584, 565, 3), np.uint8)
        >>> fundus = Fundus("mine", image, label=None, fov=np.ones((584, 565), bool))
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.bool_] | None
    fov: NDArray[np.bool_]
    second_label: NDArray[np.bool_] | None = None
