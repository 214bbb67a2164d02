"""One fundus image and what is known of it: the value every part of the package hands on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fundus:
    """A colour fundus image with its annotations, all of one height and width.

    Attributes:
        name: The image's identifier within its data set, such as ``"21"`` or ``"01L"``.
        image: RGB values of shape (H, W, 3), 0 to 255.
        label: Vessel mask of the first observer, shape (H, W), or None where there is none.
        fov: Field of view, shape (H, W), True where the camera saw the retina.
        second_label: Vessel mask of the second observer, shape (H, W), or None.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.bool_] | None
    fov: NDArray[np.bool_]
    second_label: NDArray[np.bool_] | None = None
