"""Figures of one image: its vessels, its errors, and a sheet with all its panels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from ..fundus import Fundus
from ..overlays import FALSE, FOUND, MARK, MISSED, error_map
from ..write import write_figure
from .scores import image_scores
from .tables import short

_WIDEST = 2400  # pixels of a sheet; larger images are shrunk by a whole number
_GAP, _ABOVE, _BELOW, _COLUMN = 10, 26, 74, 200  # pixels: margins, and the least width of a panel
_SCORES = ("SEN", "SPE", "F1", "ACC", "AUC", "clDice")


def save_sheet(
    path: str | Path,
    fundus: Fundus,
    probability: NDArray[np.floating],
    *,
    threshold: float = 0.5,
) -> None:
    """Save a figure of an image and its probability map; with a label, also of label and errors.

    The field of view is outlined on the probability map. With a label, the figure also has the
    scores of the whole image. Each pixel of the image is one pixel of the figure. If the figure
    would be wider than 2400 pixels, squares of 2 x 2, 3 x 3, ... pixels are averaged.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        fundus: The image.
        probability: Its probability map, shape (H, W), values between 0 and 1.
        threshold: A pixel above it counts as vessel.

    Raises:
        ValueError: If `probability` has another height or width than the image, or, with a label,
            if a value lies outside [0, 1].

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import save_sheet, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sheet(Path(folder, "sheet.png"), fundus, fundus.label.astype(float))
        ...     [path.name for path in Path(folder).iterdir()]
        ['sheet.png']
    """
    if probability.shape != fundus.fov.shape:
        raise ValueError(
            f"save_sheet: probability must have the image's shape {fundus.fov.shape}, "
            f"got {probability.shape}"
        )
    scores = None
    if fundus.label is not None:
        each = image_scores([probability], [fundus.label], threshold=threshold)
        scores = {name: score["mean"] for name, score in each.items()}
    draw_sheet(path, fundus, probability, scores, threshold=threshold)


def draw_sheet(
    path: str | Path,
    fundus: Fundus,
    probability: NDArray[np.floating],
    scores: Mapping[str, float] | None,
    *,
    threshold: float = 0.5,
) -> None:
    """The same with known scores; None without a label."""
    panels: dict[str, NDArray[Any]] = {
        f"image {fundus.name}": fundus.image,
        "probability of vessel": probability,
    }
    if fundus.label is not None:
        panels["first observer"] = fundus.label
        panels[f"errors at {threshold:g}"] = error_map(probability, fundus.label, threshold)
    room = (_WIDEST - _GAP * (len(panels) + 1)) // len(panels)
    shrink = -(-fundus.fov.shape[1] // room)
    drawn = {title: _shrunk(panel, shrink) for title, panel in panels.items()}
    outline = find_boundaries(_shrunk(fundus.fov, shrink)[..., 0] > 127, mode="inner")
    drawn["probability of vessel"][outline] = MARK

    height, width = outline.shape
    column = max(width, _COLUMN)
    size = _GAP + len(drawn) * (column + _GAP), _ABOVE + height + _BELOW
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100)
    for i, (title, pixels) in enumerate(drawn.items()):
        left = _GAP + i * (column + _GAP) + (column - width) // 2
        figure.figimage(pixels, left, _BELOW, resize=False, origin="upper")  # a pixel is a dot
        middle = (left + width / 2) / size[0]
        figure.text(middle, 1 - 18 / size[1], title, ha="center", fontsize=9, parse_math=False)
    start = (_GAP + column + _GAP + (column - min(width, 300)) // 2) / size[0]
    bar = figure.add_axes((start, 50 / size[1], min(width, 300) / size[0], 10 / size[1]))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap="gray", aspect="auto", extent=(0, 1, 0, 1))
    bar.set(yticks=[], xticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    if scores is not None:
        text = "  ".join(f"{name} {short(scores[name])}" for name in _SCORES)
        figure.text(_GAP / size[0], 8 / size[1], f"whole image: {text}", fontsize=8)
        colours = {"true positive": FOUND, "false positive": FALSE, "false negative": MISSED}
        patches = [Patch(facecolor=c, edgecolor="black", label=k) for k, c in colours.items()]
        figure.legend(handles=patches, loc="lower right", ncols=3, fontsize=8, frameon=False)
    with rc_context({"savefig.bbox": None}):  # whatever the style of the user
        write_figure(path, figure, dpi=100)


def _shrunk(panel: NDArray[Any], times: int) -> NDArray[np.uint8]:
    """RGB values of a panel, 0 to 255: means of squares of this many pixels."""
    values = panel if panel.dtype == np.uint8 else np.rint(panel * 255.0).astype(np.uint8)
    image = Image.fromarray(values).convert("RGB")
    return np.array(image.reduce(times) if times > 1 else image)
