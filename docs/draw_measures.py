"""Draw docs/images/measures.jpg: the segments that are measured, on a photograph of the retina."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from skimage import data

from torchattn_blocks.retina import estimate_fov, fov_diameter, load_pretrained, segment
from torchattn_blocks.retina.measures.segments import measured_segments
from torchattn_blocks.retina.specks import without_specks

PART = np.s_[380:830, 150:860]  # around the optic disc and the large vessels


def main() -> None:
    """Draw the picture."""
    image = data.retina()
    fov = estimate_fov(image)
    vessels = (segment(image, load_pretrained("drive"), fov=fov) > 0.5) & fov
    vessels = without_specks(vessels, 200)
    rows, columns = PART
    figure = Figure(figsize=(7.1, 4.5), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    colours = mpl.colormaps["viridis"]
    graph, measured = measured_segments(vessels, fov_diameter(fov))
    for piece, one in zip(graph.segments, measured, strict=True):
        curve = one.curve
        shown = "white" if np.isnan(one.width) else colours(min(one.width / 20, 1.0))
        axes.plot(curve.points[:, 1], curve.points[:, 0], color=shown, linewidth=1.6)
        for place, free in zip((0, -1), piece.is_free, strict=True):
            row, column = piece.path[place]  # at a branch point, the same for all that meet there
            kind = ("s", "#56b4e9") if free else ("o", "#d55e00")
            axes.plot(column, row, kind[0], color=kind[1], markersize=3.2, markeredgecolor="black")
    axes.set(xlim=(columns.start, columns.stop), ylim=(rows.stop, rows.start))
    axes.set_axis_off()
    path = Path(__file__).parent / "images" / "measures.jpg"
    figure.savefig(path, pil_kwargs={"quality": 88})
    print(path)


if __name__ == "__main__":
    main()
