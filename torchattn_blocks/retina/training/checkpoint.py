"""The folder of a training: its recipe, log, checkpoints and weights."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator
from torch import nn

from ..weights import Settings, save_weights
from .recipe import Recipe


class EpochLog(NamedTuple):
    """The mean losses of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        training_loss: Mean over the training images during the epoch, with DropBlock.
        validation_loss: Mean over the validation images after the epoch.

    Example:
        >>> from torchattn_blocks.retina import EpochLog
        >>> entry = EpochLog(epoch=1, training_loss=0.3, validation_loss=0.35)
    """

    epoch: int
    training_loss: float
    validation_loss: float


def open_folder(folder: Path, recipe: Recipe, resume: bool) -> Path | None:
    """Prepare the folder for a training by `recipe`; the checkpoint to resume from, if any."""
    found, ours = checkpoints(folder), asdict(recipe)
    if found:
        theirs = json.loads((folder / "recipe.json").read_text())
        if not resume:
            raise ValueError(
                f"train: folder {folder} holds a run. Use resume (--resume), or another folder."
            )
        if other := [
            f"{k} was {theirs.get(k)}, got {v}" for k, v in ours.items() if theirs.get(k) != v
        ]:
            raise ValueError(
                f"train: folder {folder} holds a run with another recipe: {'; '.join(other)}. Use "
                "the same recipe, or another folder."
            )
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(ours, indent=2))
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints, the latest last."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def progress(folder: str | Path) -> tuple[int, int]:
    """Completed epochs and all epochs of the training in a folder; zeros if there is none."""
    found = checkpoints(Path(folder))
    if not found:
        return 0, 0
    recipe = json.loads(Path(folder, "recipe.json").read_text())
    return int(found[-1].name[11:]), recipe["epochs"]


def keep_weights(
    model: nn.Module, settings: Settings, folder: Path, log: Sequence[EpochLog]
) -> None:
    """Write the last weights and, if no epoch had a lower validation loss, the best.

    Call it before the checkpoint is written: after a power cut between the two, resuming repeats
    both.
    """
    settings = replace(settings, about={**settings.about, **log[-1]._asdict()})
    save_weights(folder / "last.safetensors", model, settings)
    if log[-1] == min(log, key=lambda entry: entry.validation_loss):
        save_weights(folder / "best.safetensors", model, settings)


def save_checkpoint(accelerator: Accelerator, folder: Path, log: Sequence[EpochLog]) -> None:
    """Write a checkpoint. It gets its name when it is complete; then older ones are deleted."""
    older, partial = checkpoints(folder), folder / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    accelerator.save_state(str(partial))
    (partial / "log.json").write_text(json.dumps(log))
    partial.rename(folder / f"checkpoint-{len(log)}")
    for checkpoint in older:
        shutil.rmtree(checkpoint)
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(EpochLog._fields)
        writer.writerows(log)
