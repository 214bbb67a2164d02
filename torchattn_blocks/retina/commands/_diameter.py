"""The option --fov-diameter."""

import math


def check_diameter(diameter: float | None) -> None:
    """Raise `ValueError` unless images can be resized to this diameter.

    Example:
        >>> from torchattn_blocks.retina.commands._diameter import check_diameter
        >>> check_diameter(1070.0)
    """
    if diameter is not None and not 0 < diameter < math.inf:
        raise ValueError(f"--fov-diameter must be above 0 and finite, got {diameter}")
