"""Pictures of results."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from torchattn_blocks.retina.fundus import Fundus

# Told apart also by who does not tell red from green; Okabe & Ito's blue and orange.
_FOUND, _FALSE, _MISSED = (1.0, 1.0, 1.0), (0.90, 0.62, 0.0), (0.0, 0.45, 0.70)


def error_map(
    probability: NDArray[np.floating], label: NDArray[np.bool_], threshold: float = 0.5
) -> NDArray[np.float64]:
    """Colour each pixel by what became of it, shape (H, W, 3).

    Vessel that was found is white, what was wrongly called vessel orange, missed vessel blue, and
    the rest black.

    Example:
        >>> import numpy as np
        >>> error_map(np.array([[0.9, 0.1]]), np.array([[True, False]]))[0].tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    vessel = probability > threshold
    colours = np.zeros((*label.shape, 3))
    colours[vessel & label] = _FOUND
    colours[vessel & ~label] = _FALSE
    colours[~vessel & label] = _MISSED
    return colours


def save_sheet(
    path: str | Path,
    fundus: Fundus,
    probability: NDArray[np.floating],
    *,
    threshold: float = 0.5,
) -> None:
    """Write one picture: photograph and probability and, where there is a label, truth and errors.

    Args:
        path: Where to; the ending chooses the format, as in matplotlib.
        fundus: The photograph, of shape (H, W).
        probability: Its map, shape (H, W).
        threshold: A pixel above it is taken for vessel.

    Raises:
        ValueError: If the map has another shape than the photograph.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import save_sheet, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sheet(Path(folder, "sheet.png"), fundus, fundus.label.astype(float))
        ...     [path.name for path in Path(folder).iterdir()]
        ['sheet.png']
    """
    if probability.shape != fundus.fov.shape:
        raise ValueError(
            f"save_sheet: probability must have the photograph's shape {fundus.fov.shape}, "
            f"got {probability.shape}"
        )
    panels: dict[str, NDArray[Any]] = {
        f"photograph {fundus.name}": fundus.image,
        "probability": probability,
    }
    if fundus.label is not None:
        panels["first observer"] = fundus.label
        panels["errors"] = error_map(probability, fundus.label, threshold)
    # An inch of paper for each 100 pixels, and 100 dots an inch: a pixel is a dot.
    height, width = (side / 100 for side in fundus.fov.shape)
    figure = Figure(
        figsize=(len(panels) * (width + 0.2), height + 0.8), layout="constrained", dpi=100
    )
    for axes, (title, panel) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    if fundus.label is not None:
        colours = {"found": _FOUND, "false": _FALSE, "missed": _MISSED}
        patches = [Patch(facecolor=c, edgecolor="black", label=k) for k, c in colours.items()]
        figure.legend(handles=patches, loc="outside lower right", ncols=3, fontsize="small")
    figure.savefig(path)
