"""The folder of a training run: its recipe, log, checkpoints and weights."""

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
    """What one epoch showed: mean losses of an image, in training with DropBlock at work."""

    epoch: int
    training_loss: float
    validation_loss: float


def open_folder(folder: Path, recipe: Recipe, resume: bool) -> Path | None:
    """Make the folder ready for a run of `recipe`; the checkpoint to go on from, if any."""
    found, ours = checkpoints(folder), asdict(recipe)
    if found:
        theirs = json.loads((folder / "recipe.json").read_text())
        if not resume:
            raise ValueError(f"train: {folder} holds a run: resume it, or give another folder")
        if theirs != ours:
            raise ValueError(f"train: {folder} holds a run of another recipe, {theirs}; got {ours}")
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(ours, indent=2))
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, the last epoch's at the end."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def progress(folder: str | Path) -> tuple[int, int]:
    """Epochs done, and epochs in all, of the run in a folder; zeros where there is none."""
    found = checkpoints(Path(folder))
    if not found:
        return 0, 0
    recipe = json.loads(Path(folder, "recipe.json").read_text())
    return int(found[-1].name[11:]), recipe["epochs"]


def keep_weights(
    model: nn.Module, settings: Settings, folder: Path, log: Sequence[EpochLog]
) -> None:
    """Write the weights as the last and, if no epoch had less validation loss, as the best.

    Before the checkpoint, so that what a power cut may leave undone is done again on resuming.
    """
    settings = replace(settings, about={**settings.about, **log[-1]._asdict()})
    save_weights(folder / "last.safetensors", model, settings)
    if log[-1] == min(log, key=lambda entry: entry.validation_loss):
        save_weights(folder / "best.safetensors", model, settings)


def save_checkpoint(accelerator: Accelerator, folder: Path, log: Sequence[EpochLog]) -> None:
    """Write a checkpoint that gets its name once it is whole; only then do older ones go."""
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
