"""A readable training loop."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

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
    """What one epoch showed: mean losses, of training with DropBlock at work."""

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
    ``folder/checkpoint-NNNN``, so that it can be stopped at any time and resumed.

    Args:
        model: A network from images (N, 3, H, W) to logits (N, 1, H, W).
        training: Photographs with labels, all of one size unless `side` is given.
        validation: Photographs on which to watch the loss; they change nothing.
        recipe: How to train.
        folder: Where to write the checkpoint and ``log.csv``.
        side: Pad photographs evenly to squares of this many pixels.
        resume: Go on from the checkpoint where there is one.

    Returns:
        A log entry for each epoch.

    Raises:
        ValueError: If there is no photograph, one has no label, or sizes differ; if `folder` holds
            a checkpoint of another recipe.
    """
    state = _State(recipe)
    keep_freed_memory()
    set_seed(recipe.seed)
    accelerator = Accelerator(
        mixed_precision=recipe.resolved_precision(),
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    # channels_last is what convolutions compute fastest in, on CPUs and GPUs alike.
    objective = _CrossEntropy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    batches = DataLoader(_tensors("training", training, side), recipe.batch_size, shuffle=True)
    watched = DataLoader(_tensors("validation", validation, side))
    objective, optimizer, batches, watched = accelerator.prepare(
        objective, optimizer, batches, watched
    )
    accelerator.register_for_checkpointing(state)
    folder = Path(folder)
    if checkpoints := _checkpoints(folder):
        if resume:
            accelerator.load_state(str(checkpoints[-1]))
        else:
            _remove(checkpoints)
    done = len(state.log)
    with tqdm(total=recipe.epochs * len(batches), initial=done * len(batches), unit="step") as bar:
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
                losses.append(loss.item())
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                bar.update()
            objective.eval()
            with torch.no_grad():
                held_back = [objective(*batch).item() for batch in watched]
            state.log.append(EpochLog(epoch + 1, fmean(losses), fmean(held_back)))
            _save(accelerator, folder, epoch + 1)
            _write_csv(state.log, folder / "log.csv")
    return state.log


class _CrossEntropy(nn.Module):
    """The model with its loss behind it: what `accelerate` wraps, so that the model stays bare."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(logits.float(), labels)


class _State:
    """What a checkpoint holds besides the network, the optimizer and the random numbers."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.log: list[EpochLog] = []

    def state_dict(self) -> dict[str, Any]:
        return {"recipe": asdict(self.recipe), "log": [tuple(entry) for entry in self.log]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(
                f"train: the checkpoint is of another recipe, {state['recipe']}; give the same "
                f"one, another folder, or resume=False"
            )
        self.log = [EpochLog(*entry) for entry in state["log"]]


def _tensors(part: str, photographs: Sequence[Fundus], side: int | None) -> TensorDataset:
    images, labels = [], []
    for fundus in photographs:
        if fundus.label is None:
            raise ValueError(f"train: photograph {fundus.name} of {part} has no label")
        images.append(image_tensor(fundus.image, side))
        labels.append(map_tensor(fundus.label, side))
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) != 1:
        raise ValueError(
            f"train: {part} must hold photographs of one size, got {sorted(sizes) or 'none'}"
        )
    return TensorDataset(torch.stack(images), torch.stack(labels))


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-????"))


def _save(accelerator: Accelerator, folder: Path, epoch: int) -> None:
    """Write a checkpoint that gets its name once it is whole; only then do older ones go."""
    older, partial = _checkpoints(folder), folder / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    accelerator.save_state(str(partial))
    partial.rename(folder / f"checkpoint-{epoch:04d}")
    _remove(older)


def _remove(checkpoints: Sequence[Path]) -> None:
    for checkpoint in checkpoints:
        shutil.rmtree(checkpoint)


def _write_csv(log: Sequence[EpochLog], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(EpochLog._fields)
        writer.writerows(log)
