"""The training loop."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.fov import fov_diameter
from ..fundus import Fundus
from ..network import Network
from ..weights import Settings
from .augment import Augmentation
from .checkpoint import EpochLog, checkpoints, keep_weights, open_folder, save_checkpoint
from .examples import Examples
from .losses import CrossEntropy
from .recipe import Recipe
from .time_limit import OutOfTimeError, TimeLimit


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
    """Train `model` on whole images, on the device that `accelerate` chooses.

    Shows a progress bar. After each epoch the state of the training is written to
    ``folder/checkpoint-N``, so that a stopped training can be resumed. On a CPU it then ends with
    the same weights, bit for bit, as without the stop. Sets the seeds of Python, NumPy and torch.

    Args:
        model: A network from images (N, 3, H, W) to logits (N, 1, H, W). Its weights are changed
            in place. It stays on the device of the training and gets back its mode, training or
            evaluation.
        training: Images with labels, all of one size unless the recipe pads them.
        validation: Images with labels, to compute the loss on after each epoch. They decide which
            epoch is kept as ``best.safetensors`` and do not influence the training.
        recipe: How to train.
        folder: The folder to write checkpoints, ``recipe.json`` and ``log.csv`` to.
        network: Name and options of `model`. With it, `folder` also gets two weights files for
            `load_weights`: ``last.safetensors``, and ``best.safetensors`` of the epoch with the
            lowest validation loss.
        dataset: Name of the data set, noted in the weights files.
        resume: Continue from the last checkpoint in `folder`, if there is one. Otherwise `folder`
            must not hold a training.
        max_time: Return after the last epoch that ends within this many seconds. Call `train` again
            with ``resume=True`` to continue.

    Returns:
        A log entry for each completed epoch, earlier calls included.

    Raises:
        TypeError: If an image is not a :class:`Fundus`.
        ValueError: If `training` or `validation` is empty, or an image has no label. With
            ``recipe.side``: if an image is larger. Without it: if sizes differ, or the augmentation
            rotates and images are not square. If `folder` holds a run and `resume` is False, or a
            run with another recipe. If `max_time` is not above 0. If there are several processes.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.retina import Recipe, synthesize, train
        >>> images = [synthesize(seed, height=64, width=64) for seed in range(3)]
        >>> recipe = Recipe(epochs=2, batch_size=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = train(rsan(widths=(4, 8)), images[:2], images[2:], recipe, folder)
        >>> [entry.epoch for entry in log]
        [1, 2]
    """
    limit = TimeLimit(max_time)
    examples = Examples("training", training, recipe)
    watched_examples = Examples(
        "validation", validation, replace(recipe, augmentation=Augmentation())
    )
    diameter = median(fov_diameter(fundus.fov) for fundus in training)
    folder = Path(folder)
    checkpoint = open_folder(folder, recipe, resume)
    set_seed(recipe.seed)
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    if accelerator.num_processes > 1:
        raise ValueError(f"train: must run as 1 process, got {accelerator.num_processes}")
    was_training = model.training
    # Convolutions are fastest in channels_last, on CPUs and GPUs.
    objective = CrossEntropy(model, recipe.resolved_precision()).to(
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
        save_checkpoint(accelerator, folder, log)
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
                            keep_weights(model, settings, folder, log)
                        save_checkpoint(accelerator, folder, log)
    except OutOfTimeError:
        accelerator.load_state(str(checkpoints(folder)[-1]))  # back to the last completed epoch
    model.train(was_training)
    return log
