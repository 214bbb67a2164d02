"""Trackers of trainings, such as TensorBoard, by `accelerate`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from ..._check import check_kind

_PROJECT = "torchattn_blocks"


def check_trackers(names: Sequence[str]) -> None:
    """Raise `ValueError` unless all are names of trackers that are installed."""
    check_kind("train", list, tuple, log_with=names)
    known = [str(name) for name in LoggerType if name != LoggerType.ALL]
    installed = [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in known:
            raise ValueError(f"train: log_with must be of {', '.join(known)}, got {name!r}")
        if name not in installed:  # accelerate would warn at most, and log nothing
            raise ValueError(f"train: log_with {name!r} needs its package, which is not installed")


@contextmanager
def tracked(accelerator: Accelerator, record: Mapping[str, Any]) -> Iterator[None]:
    """Start the trackers of a training, with its recipe and model, and end them after the block."""
    if not accelerator.log_with:
        yield
        return
    accelerator.init_trackers(_PROJECT, _flat({key: record[key] for key in ("model", "recipe")}))
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # end_training would also end the processes' group
            tracker.finish()


def _flat(record: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The entries of nested mappings under joined names. Trackers only take numbers and text."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}/")
        else:
            flat[above + name] = value if isinstance(value, (int, float)) else str(value)
    return flat
