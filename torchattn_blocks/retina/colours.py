"""Colours of figures, which colour-blind readers can tell apart.

The palette of M. Okabe and K. Ito, "Color Universal Design (CUD)", 2008,
https://jfly.uni-koeln.de/color/.
"""


def _palette(red: int, green: int, blue: int) -> tuple[float, float, float]:
    """A colour of the palette, from its values of 0 to 255, as matplotlib takes it: 0 to 1."""
    return red / 255, green / 255, blue / 255


ORANGE = _palette(230, 159, 0)
SKY_BLUE = _palette(86, 180, 233)
GREEN = _palette(0, 158, 115)
BLUE = _palette(0, 114, 178)
VERMILLION = _palette(213, 94, 0)
PURPLE = _palette(204, 121, 167)
GREY = 0.8, 0.8, 0.8  # of the lines of a grid; not of the palette
