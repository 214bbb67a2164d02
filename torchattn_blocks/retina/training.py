"""A readable training loop."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from torchattn_blocks.retina.allocator import keep_freed_memory
from torchattn_blocks.retina.augmentation import Augmentation
from torchattn_blocks.retina.fov import fov_diameter
from torchattn_blocks.retina.fundus import Fundus
from torchattn_blocks.retina.network import Network
from torchattn_blocks.retina.recipe import Recipe
from torchattn_blocks.retina.tensors import image_tensor, map_tensor
from torchattn_blocks.retina.time_limit import OutOfTimeError, TimeLimit
from torchattn_blocks.retina.weights import Settings, save_weights


class EpochLog(NamedTuple):
    """What one epoch showed: mean losses of a photograph, in training with DropBlock at work."""

    epoch: int
    training_loss: float
    validation_loss: float


def train(
    model: nn.Module,
    training: Sequence[Fundus],
    validation: Sequence[Fundus],
    recipe: Recipe,
    folder: str | Path,
    *,
    network: Network | None = None,
    dataset: str = "",
    resume: bool = False,
    max_time: float | None = None,
) -> list[EpochLog]:
    """Train `model` in place on whole photographs, on whatever device `accelerate` finds.

    Shows a progress bar. After each epoch the state of the training is written to
    ``folder/checkpoint-N``, so that it can be stopped at any time and resumed; on a CPU the resumed
    run ends with the same weights, bit for bit. Python's, NumPy's and torch's random numbers are
    seeded, and the process keeps the memory it frees.

    Args:
        model: A network from images (N, 3, H, W) to logits (N, 1, H, W). It is left on the device
            and in the mode, training or evaluation, that it was trained on and given in.
        training: Photographs with labels, all of one size unless the recipe pads them.
        validation: Photographs on which to watch the loss; they change nothing.
        recipe: How to train.
        folder: Where to write checkpoints, ``recipe.json`` and ``log.csv``.
        network: Which network `model` is. If given, ``last.safetensors`` and, of the epoch with the
            least validation loss, ``best.safetensors`` are kept in `folder`, for `load_pretrained`.
        dataset: The name of the data, for these files to say.
        resume: Go on from the last checkpoint in `folder`, where there is one.
        max_time: Return after this many seconds at most, with what whole epochs fit into them; a
            later call resumes.

    Returns:
        A log entry for each epoch so far: `recipe.epochs` of them once the training is at its end.

    Raises:
        ValueError: If there is no photograph, one has no label or is larger than the recipe's side,
            or sizes differ; if `folder` holds a run that is not to be resumed or is of another
            recipe; if started as several processes.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.retina import Recipe, synthesize, train
        >>> photographs = [synthesize(seed, height=64, width=64) for seed in range(3)]
        >>> recipe = Recipe(epochs=2, batch_size=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = train(rsan(widths=(4, 8)), photographs[:2], photographs[2:], recipe, folder)
        >>> [entry.epoch for entry in log]
        [1, 2]
    """
    limit = TimeLimit(max_time)
    examples = _Examples("training", training, recipe)
    watched_examples = _Examples(
        "validation", validation, replace(recipe, augmentation=Augmentation())
    )
    diameter = median(fov_diameter(fundus.fov) for fundus in training)
    folder = Path(folder)
    checkpoint = _open_folder(folder, recipe, resume)
    keep_freed_memory()
    set_seed(recipe.seed)
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    if accelerator.num_processes > 1:
        raise ValueError(f"train: must run as one process, got {accelerator.num_processes}")
    was_training = model.training
    # channels_last is what convolutions compute fastest in, on CPUs and GPUs alike.
    objective = _CrossEntropy(model, recipe.resolved_precision()).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    objective, optimizer, batches, watched = accelerator.prepare(
        objective,
        optimizer,
        DataLoader(examples, recipe.batch_size, shuffle=True),
        DataLoader(watched_examples),
    )
    log: list[EpochLog] = []
    if checkpoint is None:
        _save(accelerator, folder, log)
    else:
        accelerator.load_state(str(checkpoint))
        log = [EpochLog(*entry) for entry in json.loads((checkpoint / "log.json").read_text())]

    def step(images: Tensor, labels: Tensor) -> float:
        loss = objective(images, labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    @torch.no_grad()
    def validate() -> float:
        objective.eval()
        return fmean(objective(*batch).item() for batch in watched)

    done, steps = len(log), len(batches)
    try:
        with tqdm(total=recipe.epochs * steps, initial=done * steps, unit="step") as bar:
            for epoch in range(done, recipe.epochs):
                bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
                with limit.timed("epoch"):
                    for group in optimizer.param_groups:
                        group["lr"] = recipe.learning_rate_at(epoch)
                    batches.set_epoch(epoch)
                    examples.epoch = epoch
                    objective.train()
                    losses: list[float] = []
                    for images, labels in batches:
                        with limit.timed("step"):
                            loss = step(images, labels)
                        losses += [loss] * len(images)
                        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                        bar.update()
                    with limit.timed("validation"):
                        log.append(EpochLog(epoch + 1, fmean(losses), validate()))
                        if network is not None:
                            about = {"dataset": dataset, "recipe": asdict(recipe)}
                            settings = Settings(network, diameter, recipe.side, about)
                            _save_weights(model, settings, folder, log)
                        _save(accelerator, folder, log)
    except OutOfTimeError:
        accelerator.load_state(str(_checkpoints(folder)[-1]))  # back to the last whole epoch
    model.train(was_training)
    return log


class _CrossEntropy(nn.Module):
    """The model with its loss behind it: what `accelerate` wraps, so that the model stays bare.

    Mixed precision is chosen here and not in the `Accelerator`, whose choice holds for the process.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__()
        self.model = model
        self.mixed = precision == "bf16"

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(logits.float(), labels)


class _Examples(Dataset[tuple[Tensor, Tensor]]):
    """Photographs as a network takes them, changed anew in every epoch, by epoch and place alone.

    That makes a resumed run see what an uninterrupted one sees.
    """

    def __init__(self, part: str, photographs: Sequence[Fundus], recipe: Recipe) -> None:
        self.photographs = photographs
        self.recipe = recipe
        self.epoch = 0
        _check(part, photographs, recipe)

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        entropy = np.random.SeedSequence([self.recipe.seed, self.epoch, index])
        seed = int(entropy.generate_state(1)[0])
        fundus = self.recipe.augmentation(self.photographs[index], seed)
        assert fundus.label is not None  # for the type checker: _check has looked
        side = self.recipe.side
        return image_tensor(fundus.image, side), map_tensor(fundus.label, side)


def _check(part: str, photographs: Sequence[Fundus], recipe: Recipe) -> None:
    for fundus in photographs:
        if fundus.label is None:
            raise ValueError(f"train: photograph {fundus.name} of {part} has no label")
        if recipe.side is not None and recipe.side < max(fundus.label.shape):
            raise ValueError(
                f"train: side must be at least that of every photograph, got {recipe.side}; "
                f"{fundus.name} of {part} has shape {fundus.label.shape}"
            )
    sizes = {fundus.fov.shape for fundus in photographs}
    if not sizes or (recipe.side is None and len(sizes) > 1):
        raise ValueError(
            f"train: {part} must hold photographs of one size, or the recipe give a side to pad "
            f"them to; got {sorted(sizes) or 'none'}"
        )
    if recipe.side is None and recipe.augmentation.rotate and len(set(*sizes)) > 1:
        raise ValueError(
            "train: photographs that are rotated must be square, or the recipe give a side to pad "
            f"them to; got {sizes.pop()}"
        )


def _open_folder(folder: Path, recipe: Recipe, resume: bool) -> Path | None:
    """Make the folder ready for a run of `recipe`; the checkpoint to go on from, if any."""
    checkpoints, ours = _checkpoints(folder), asdict(recipe)
    if checkpoints:
        theirs = json.loads((folder / "recipe.json").read_text())
        if not resume:
            raise ValueError(f"train: {folder} holds a run: resume it, or give another folder")
        if theirs != ours:
            raise ValueError(f"train: {folder} holds a run of another recipe, {theirs}; got {ours}")
        return checkpoints[-1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(ours, indent=2))
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, the last epoch's at the end."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def progress(folder: str | Path) -> tuple[int, int]:
    """Epochs done, and epochs in all, of the run in a folder; zeros where there is none."""
    checkpoints = _checkpoints(Path(folder))
    if not checkpoints:
        return 0, 0
    recipe = json.loads(Path(folder, "recipe.json").read_text())
    return int(checkpoints[-1].name[11:]), recipe["epochs"]


def _save_weights(
    model: nn.Module, settings: Settings, folder: Path, log: Sequence[EpochLog]
) -> None:
    """Write the weights as the last and, if no epoch had less validation loss, as the best.

    Before the checkpoint, so that what a power cut may leave undone is done again on resuming.
    """
    settings = replace(settings, about={**settings.about, **log[-1]._asdict()})
    save_weights(folder / "last.safetensors", model, settings)
    if log[-1] == min(log, key=lambda entry: entry.validation_loss):
        save_weights(folder / "best.safetensors", model, settings)


def _save(accelerator: Accelerator, folder: Path, log: Sequence[EpochLog]) -> None:
    """Write a checkpoint that gets its name once it is whole; only then do older ones go."""
    older, partial = _checkpoints(folder), folder / "checkpoint.partial"
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
