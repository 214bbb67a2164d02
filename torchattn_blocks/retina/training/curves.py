"""The figure of a training's losses."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..colours import BLUE, GREY, ORANGE
from ..write import write_figure
from .checkpoint import LogEntry


def save_training_curves(path: str | Path, log: Sequence[LogEntry]) -> None:
    """Save a figure of the losses by step, with the lowest validation loss marked.

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
    steps, training, validation = zip(*log, strict=True)
    best = min(log, key=lambda entry: entry.validation_loss)
    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=150)
    axes = figure.subplots()
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
    axes.set(xlabel="step", ylabel="loss", yscale="log", xlim=(0, steps[-1] * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Losses rarely span a power of ten: ticks between them, without exponents.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=GREY, linewidth=0.5)
    axes.legend()
    write_figure(path, figure)
