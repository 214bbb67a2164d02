"""The option --fov-diameter."""

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..fundus import Fundus
    from ..weights import Trained

Diameter = float | Literal["auto"]


def check_diameter(diameter: Diameter | None) -> None:
    """Raise `ValueError` unless images can be resized to this diameter.

    Example:
        >>> from torchattn_blocks.retina.commands._diameter import check_diameter
        >>> check_diameter(1070.0)
    """
    if isinstance(diameter, float) and not 0 < diameter < math.inf:
        raise ValueError(f"--fov-diameter must be above 0 and finite, got {diameter}")


def resolved(diameter: Diameter | None, fundus: "Fundus", trained: "Trained") -> float | None:
    """The diameter for an image. With "auto", the one at which the network is most certain."""
    if diameter != "auto":
        return diameter
    from ..working_diameter import find_fov_diameter

    return find_fov_diameter(fundus.image, trained, fov=fundus.fov)
