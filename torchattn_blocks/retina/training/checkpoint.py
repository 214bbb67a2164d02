"""The folder of a training: its record, log, checkpoints and weights."""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..write import csv_text, write_whole
from .record import NOTES, differences

_LOG = "log.csv"
_ENDS = "earlier_ends"  # steps at which a training had ended before it was given more
_KEPT = 2  # checkpoints: if the last is damaged, there is another


class LogEntry(NamedTuple):
    """A validation: losses, and scores within the field of view of the validation images.

    The scores belong to the weights written at this step. With ``Recipe.calibrate``, these images
    and training images choose the threshold for F1 and clDice, so both can be a little too high.
    (If images are resized, scores of `segment` with these weights differ by about 0.001.)

    Attributes:
        step: Number of completed steps.
        training_loss: Mean over the steps since the last entry, with DropBlock.
        validation_loss: Mean over the validation images after these steps.
        f1: F1 of all pixels.
        auc: Area under the ROC curve of all pixels.
        cl_dice: Mean clDice of the images. If there are more than eight, of up to eight, evenly
            spread.

    Example:
        >>> from torchattn_blocks.retina import LogEntry
        >>> entry = LogEntry(step=9, training_loss=0.3, validation_loss=0.35)
    """

    step: int
    training_loss: float
    validation_loss: float
    f1: float = math.nan
    auc: float = math.nan
    cl_dice: float = math.nan


def open_folder(folder: Path, record: Mapping[str, Any], resume: bool) -> Path | None:
    """Check the folder for this record's training; return the checkpoint to resume from, if any."""
    found = checkpoints(folder)
    if not resume:
        if _holds_work(folder):
            raise ValueError(
                f"train: folder {folder} holds a run. Use resume (--resume), or another folder."
            )
        return None
    if not found:
        raise ValueError(
            f"train: folder {folder} holds no run to resume. Start one without resume."
        )
    was = _read_record(folder)
    if _is_longer(record, was) and is_finished(folder):
        was["recipe"]["steps"] = record["recipe"]["steps"]
    if other := differences(was, record):
        raise ValueError(
            f"train: folder {folder} holds another run: {other}. Resume it as it began, or use "
            "another folder. (A run may be given more steps once it is finished.)"
        )
    return found[-1]


def start_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a new training."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_record(folder, record)


def lengthen(folder: Path, record: Mapping[str, Any]) -> None:
    """If a training was given more steps, add that to its record."""
    was = _read_record(folder)
    if _is_longer(record, was):
        ends = [*was[NOTES].get(_ENDS, []), was["recipe"]["steps"]]
        _write_record(folder, {**record, NOTES: {**record[NOTES], _ENDS: ends}})


def _is_longer(record: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    return record["recipe"]["steps"] > was["recipe"]["steps"]


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints, the latest last."""
    found = [path for path in folder.glob("checkpoint-*.pt") if path.stem[11:].isdecimal()]
    return sorted(found, key=_step)


def is_finished(folder: Path) -> bool:
    """Whether the training in a folder has done all its steps and the last validation."""
    done, _, _ = _last_row(folder).partition(",")
    return bool(done) and int(done) == progress(folder)[1]


def progress(folder: str | Path) -> tuple[int, int]:
    """Completed steps and all steps of the training in a folder; zeros if there is none."""
    found = checkpoints(Path(folder))
    if not found:
        return 0, 0
    return _step(found[-1]), _read_record(Path(folder))["recipe"]["steps"]


def save_checkpoint(folder: Path, state: Mapping[str, Any], log: Sequence[LogEntry]) -> None:
    """Write a checkpoint and the log; delete all but the last checkpoints."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(folder / f"checkpoint-{state['step']}.pt", buffer.getvalue())
    for older in checkpoints(folder)[:-_KEPT]:
        older.unlink()
    save_log(folder, log)


def save_log(folder: Path, log: Sequence[LogEntry]) -> None:
    """Write the log."""
    write_whole(folder / _LOG, csv_text(LogEntry._fields, log).encode())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Nothing in it is executed.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # the format of torch.save; it holds checksums
            if archive.testzip() is None:
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # damage may show as any error
        pass
    others = [other.name for other in checkpoints(path.parent) if other != path]
    before = f"To go on from {others[-1]}, delete it." if others else "There is no other."
    raise ValueError(f"{path}: this checkpoint is damaged. {before}")


def _holds_work(folder: Path) -> bool:
    """Whether a folder has more from a training than its start."""
    weights = folder.glob("*.safetensors")
    return any(map(_step, checkpoints(folder))) or bool(_last_row(folder)) or any(weights)


def _last_row(folder: Path) -> str:
    """The last entry of the log; empty if there is none."""
    path = folder / _LOG
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return rows[-1] if len(rows) > 1 else ""


def _step(checkpoint: Path) -> int:
    return int(checkpoint.stem[11:])


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_whole(folder / "run.json", json.dumps(record, indent=2).encode())


def _read_record(folder: Path) -> Any:
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: this record of a run is damaged ({error})") from error
