"""A readable training loop."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from torchattn_blocks.retina.allocator import keep_freed_memory
from torchattn_blocks.retina.fundus import Fundus
from torchattn_blocks.retina.tensors import image_tensor, map_tensor


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam on binary cross entropy, the rate falling once.

    Attributes:
        epochs: Passes over the training photographs.
        batch_size: Photographs in a step.
        learning_rate: Adam's rate at first.
        first_part: The fraction of the epochs after which the rate falls to a tenth.
        seed: Fixes the order of the photographs and what DropBlock drops.
        precision: ``"bf16"`` for mixed precision or ``"no"``; ``"auto"`` takes bfloat16 where the
            machine computes in it.

    Raises:
        ValueError: If a value is out of bounds.

    Example:
        >>> recipe = Recipe(epochs=200, first_part=0.75)
        >>> recipe.learning_rate_at(149), recipe.learning_rate_at(150)
        (0.001, 0.0001)
    """

    epochs: int = 200
    batch_size: int = 2
    learning_rate: float = 1e-3
    first_part: float = 0.75
    seed: int = 0
    precision: Literal["auto", "bf16", "no"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"Recipe: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"Recipe: seed must lie in [0, 2**32), got {self.seed}")
        if not self.learning_rate > 0:
            raise ValueError(f"Recipe: learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.first_part <= 1:
            raise ValueError(f"Recipe: first_part must lie in [0, 1], got {self.first_part}")
        if self.precision not in ("auto", "bf16", "no"):
            raise ValueError(
                f'Recipe: precision must be "auto", "bf16" or "no", got {self.precision!r}'
            )

    def learning_rate_at(self, epoch: int) -> float:
        """The rate in an epoch, counted from 0."""
        falls = epoch >= round(self.first_part * self.epochs)
        return self.learning_rate / 10 if falls else self.learning_rate

    def resolved_precision(self) -> str:
        """The precision to compute in: `precision`, decided where it is ``"auto"``."""
        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_available():
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "no"


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
    side: int | None = None,
    resume: bool = False,
) -> list[EpochLog]:
    """Train `model` in place on whole photographs, on whatever device `accelerate` finds.

    Shows a progress bar. After each epoch the state of the training is written to
    ``folder/checkpoint-N``, so that it can be stopped at any time and resumed; on a CPU the resumed
    run ends with the same weights, bit for bit. Python's, NumPy's and torch's random numbers are
    seeded, and the process keeps the memory it frees.

    Args:
        model: A network from images (N, 3, H, W) to logits (N, 1, H, W). It is left on the device
            and in the mode, training or evaluation, that it was trained on and given in.
        training: Photographs with labels, all of one size unless `side` is given.
        validation: Photographs on which to watch the loss; they change nothing.
        recipe: How to train.
        folder: Where to write checkpoints, ``recipe.json`` and ``log.csv``.
        side: Pad photographs evenly to squares of this many pixels.
        resume: Go on from the last checkpoint in `folder`, where there is one.

    Returns:
        A log entry for each epoch.

    Raises:
        ValueError: If there is no photograph, one has no label or is larger than `side`, or sizes
            differ; if `folder` holds a run that is not to be resumed or is of another recipe; if
            started as several processes.

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
    examples, watched_examples = (
        _tensors(part, photographs, side)
        for part, photographs in (("training", training), ("validation", validation))
    )
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
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        log = [EpochLog(*entry) for entry in json.loads((checkpoint / "log.json").read_text())]
    done, steps = len(log), len(batches)
    with tqdm(total=recipe.epochs * steps, initial=done * steps, unit="step") as bar:
        for epoch in range(done, recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch)
            batches.set_epoch(epoch)
            objective.train()
            losses = []
            for images, labels in batches:
                loss = objective(images, labels)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                losses += [loss.item()] * len(images)
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                bar.update()
            objective.eval()
            with torch.no_grad():
                held_back = [objective(*batch).item() for batch in watched]
            log.append(EpochLog(epoch + 1, fmean(losses), fmean(held_back)))
            _save(accelerator, folder, log)
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


def _tensors(part: str, photographs: Sequence[Fundus], side: int | None) -> TensorDataset:
    images, labels = [], []
    for fundus in photographs:
        if fundus.label is None:
            raise ValueError(f"train: photograph {fundus.name} of {part} has no label")
        if side is not None and side < max(fundus.label.shape):
            raise ValueError(
                f"train: side must be at least that of every photograph, got {side}; "
                f"{fundus.name} of {part} has shape {fundus.label.shape}"
            )
        images.append(image_tensor(fundus.image, side))
        labels.append(map_tensor(fundus.label, side))
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) != 1:
        raise ValueError(
            f"train: {part} must hold photographs of one size, got {sorted(sizes) or 'none'}"
        )
    return TensorDataset(torch.stack(images), torch.stack(labels))


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
