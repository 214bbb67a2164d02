"""The lines of the plots: each can be told from all others, and blue ones are ours."""

import attention_peers
import peers
import pytest
from libraries import OURS
from plots import styles
from report import UNDRAWN

from torchattn_blocks.retina.colours import BLUE

CONTENDERS = [*peers.CONTENDERS, *attention_peers.CONTENDERS]


@pytest.mark.parametrize("contenders", [peers.CONTENDERS, attention_peers.CONTENDERS])
def test_every_contender_has_a_line_of_its_own_and_ours_alone_are_blue(contenders):
    names = {c.name for c in contenders} - UNDRAWN
    style = styles(names)
    assert set(style) >= names
    looks = {(look["color"], look["linestyle"]) for look in style.values()}
    assert len(looks) == len(style)
    blue = {name for name, look in style.items() if look["color"] == BLUE}
    assert blue == {name for name in style if name.startswith(OURS)}


def test_variants_share_the_colour_of_their_library_whichever_comes_first():
    style = styles(["timm, batch norm", "timm", f"{OURS}, batch norm"])
    assert list(style) == [OURS, f"{OURS}, batch norm", "timm", "timm, batch norm"]
    assert style["timm"]["color"] == style["timm, batch norm"]["color"]
    lines = [style[name]["linestyle"] for name in style]
    assert lines == ["-", "--", "-", "--"]
