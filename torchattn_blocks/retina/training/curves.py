"""The figure of a training's losses and scores."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..colours import BLUE, GREEN, GREY, ORANGE
from ..write import write_figure
from .checkpoint import LogEntry


def save_training_curves(path: str | Path, log: Sequence[LogEntry]) -> None:
    """Save a figure of losses and scores by step, with the lowest validation loss marked.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        log: The result of `train`.

    Raises:
        ValueError: If `log` is empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import LogEntry
        >>> from torchattn_blocks.retina import save_training_curves
        >>> log = [LogEntry(1, 0.3, 0.35), LogEntry(2, 0.2, 0.25), LogEntry(3, 0.1, 0.28)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "losses.png")
        ...     save_training_curves(path, log)
        ...     path.is_file()
        True
    """
    if not log:
        raise ValueError("save_training_curves: log must hold at least 1 entry, got 0")
    scored = any(not math.isnan(value) for entry in log for value in entry[3:])
    figure = Figure(figsize=(8, 8 if scored else 4.5), layout="constrained", dpi=150)
    axes = figure.subplots(2 if scored else 1, squeeze=False)[:, 0]
    _draw_losses(axes[0], log)
    if scored:
        _draw_scores(axes[1], log)
    for one in axes:
        one.set(xlabel="step", xlim=(0, log[-1].step * 1.02))
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        one.grid(color=GREY, linewidth=0.5)
        one.legend()
    write_figure(path, figure)


def _draw_losses(axes: Axes, log: Sequence[LogEntry]) -> None:
    steps, training, validation, *_ = zip(*log, strict=True)
    best = min(log, key=lambda entry: entry.validation_loss)
    axes.plot(steps, training, ".-", color=BLUE, markersize=3, label="training")
    axes.plot(steps, validation, ".-", color=ORANGE, markersize=3, label="validation")
    axes.plot(
        best.step,
        best.validation_loss,
        "o",
        color=ORANGE,
        markeredgecolor="black",
        label=f"lowest: {best.validation_loss:.4g}, step {best.step}",
    )
    axes.set(ylabel="loss", yscale="log")
    # Losses rarely span a power of ten, so put ticks between powers, without exponents.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_scores(axes: Axes, log: Sequence[LogEntry]) -> None:
    for name, colour, title in (
        ("f1", BLUE, "F1"),
        ("auc", ORANGE, "AUC"),
        ("cl_dice", GREEN, "clDice"),
    ):
        values = [getattr(entry, name) for entry in log]
        label = f"{title}: {values[-1]:.4f} at the end"
        axes.plot([entry.step for entry in log], values, ".-", color=colour, label=label)
    axes.set(ylabel="score of the validation images")
