"""The training loop."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from statistics import fmean, median
from time import monotonic
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..._check import check_ints, check_kind
from ..._restored import modes_restored, own_random_numbers
from ..data.fov import fov_diameter
from ..fundus import Fundus
from ..network import Network
from ..weights import Settings, save_weights
from .checkpoint import (
    LogEntry,
    checkpoints,
    lengthen,
    load_checkpoint,
    open_folder,
    save_checkpoint,
    save_log,
    start_folder,
)
from .examples import Examples, check_auxiliary, check_images
from .losses import Objective, check_model, cl_dice_iterations, fastest_layout
from .order import Batches
from .recipe import Recipe
from .record import record_of
from .seeds import Use, torch_seed
from .state import State, rates_restored
from .time_limit import TimeLimit
from .trackers import check_trackers, tracked
from .validation import Validated, Validation

_SAVE_EVERY = 60.0  # seconds between checkpoints, at most: what a power cut may cost


def train(
    model: nn.Module,
    training: Sequence[Fundus],
    validation: Sequence[Fundus],
    recipe: Recipe,
    folder: str | Path,
    *,
    network: Network | None = None,
    dataset: str = "",
    auxiliary: Mapping[str, NDArray[np.floating]] | None = None,
    pretrained: Mapping[str, Any] | None = None,
    resume: bool = False,
    max_time: float | None = None,
    workers: int = 0,
    log_with: Sequence[str] = (),
) -> list[LogEntry]:
    """Train `model`, on the device and in as many processes as `accelerate` finds.

    Shows a progress bar, and at the end a line if ``recipe.calibrate`` shifted the bias by more
    than 1 or changed the sensitivity by more than 0.05. At least every minute, and when time is
    over, the state of the training is written to ``folder/checkpoint-STEP.pt``, so that a stopped
    training can be resumed. On a CPU you get the same weights, bit for bit, as without the stop
    (with the same number of threads, on the same kind of CPU). Torch's random numbers outside of
    the training do not change.

    Args:
        model: A network from images (N, 3, H, W) to logits (N, 1, H, W), which may be
            `memory_efficient`. Its weights are changed in place: at the end it has the weights that
            are kept. It stays on the device of the training. If it is in training mode, its modules
            in evaluation mode stay so (such as frozen batch normalisation); otherwise all of it is
            trained. At the end all modules get their modes back.
        training: Images with labels. For batches of whole images, all must have one size unless the
            recipe pads them.
        validation: Images with labels, to compute the loss on. They decide which weights are kept
            as ``best.safetensors`` and, with ``recipe.calibrate`` and together with up to ten
            training images, the shift of the output bias. Otherwise they do not influence the
            training.
        recipe: How to train.
        folder: The folder to write checkpoints, ``run.json`` and ``log.csv`` to. ``run.json``
            records images, model, recipe, machine and versions.
        network: Name and options of `model`. If given, `folder` also gets two weights files for
            `load_weights`: ``last.safetensors``, which we recommend, and ``best.safetensors`` from
            the validation with the lowest loss.
        dataset: Name of the data set, to be recorded; several are joined by ``+``.
        auxiliary: A probability map (H, W) for the name of each training image, for
            ``recipe.auxiliary``.
        pretrained: If `model` was trained before, where its weights are from, as plain data. It is
            recorded in ``run.json`` and in the weights files.
        resume: Continue the training in `folder`. Otherwise `folder` must not hold one. You may
            give a finished training more steps; learning rate and drop rate then take the values
            they have at this step of a training of that length.
        max_time: Return before so many seconds are over. Call `train` again with ``resume=True`` to
            continue. A step or validation starts only if it should finish in time; the first of
            each may overrun.
        workers: Processes that crop and augment images. They do not change the result.
        log_with: Also log losses and scores with these trackers of `accelerate`: ``"tensorboard"``
            writes to ``folder/torchattn_blocks``; ``"wandb"``, ``"mlflow"`` and others work if they
            are installed.

    Returns:
        A log entry for each validation, earlier calls included.

    Raises:
        TypeError: If an image is not a :class:`Fundus`, or another argument has a type not listed
            above.
        ValueError: If `training` or `validation` is empty, two images of one have the same name, or
            an image has no label or an empty field of view. With ``recipe.side``: if an image is
            larger. For batches of whole images without it: if sizes differ, or the augmentation
            rotates and images are not square. If `folder` holds a run and `resume` is False, or no
            run or another one and `resume` is True, or a damaged checkpoint. If `network` does not
            describe `model`, `model` does not make logits (N, 1, H, W) of images (N, 3, H, W),
            `max_time` is not above 0, ``recipe.cl_dice_iterations`` are too few for the vessels,
            ``recipe.auxiliary`` and `auxiliary` do not go together, ``recipe.shares`` names other
            data sets than the images, the batch cannot be shared by the processes, or a tracker of
            `log_with` is unknown or not installed.
        FloatingPointError: If the loss or its gradient is not finite.
        OSError: If a file cannot be written. The last checkpoint remains.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.retina import Recipe, synthesize, train
        >>> images = [synthesize(seed, height=64, width=64) for seed in range(3)]
        >>> recipe = Recipe(epochs=2, batch_size=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = train(rsan(widths=(4, 8)), images[:2], images[2:], recipe, folder)
        >>> [entry.step for entry in log]
        [2, 4]
    """
    check_kind("train", nn.Module, model=model)
    check_kind("train", Recipe, recipe=recipe)
    check_kind("train", Network, None, network=network)
    check_kind("train", str, dataset=dataset)
    check_ints("train", 0, workers=workers)
    if network is not None:
        network.check_describes("train", model)
    limit = TimeLimit(max_time)
    folder = Path(folder)
    training, validation = list(training), list(validation)
    check_images("training", training, recipe)
    check_images("validation", validation, recipe)
    check_auxiliary(training, recipe, auxiliary)
    check_kind("train", Mapping, None, pretrained=pretrained)
    accelerator = _accelerator(recipe, log_with, folder)
    steps = recipe.steps_for(len(training))
    every = recipe.validate_every or recipe.steps_in_a_pass(len(training))
    precision = recipe.resolved_precision()
    recipe = replace(
        recipe,
        steps=steps,
        validate_every=every,
        precision=precision,
        cl_dice_iterations=cl_dice_iterations(training, recipe),
    )
    layout = fastest_layout(accelerator.device)
    machine = {
        "device": accelerator.device.type,
        "memory_format": str(layout),
        "processes": accelerator.num_processes,
    }
    images = {"training": training, "validation": validation}
    record = record_of(model, network, recipe, dataset, images, auxiliary, machine, pretrained)
    accelerator.wait_for_everyone()  # the first process has written its files, in an earlier call
    checkpoint = open_folder(folder, record, resume)
    accelerator.wait_for_everyone()  # every process has looked before any writes
    settings = None
    if network is not None:
        seen = median(fov_diameter(fundus.fov) for fundus in training) * recipe.input_scale
        diameter = recipe.fov_diameter or seen
        about = {"dataset": dataset, "recipe": recipe.as_data()}
        about |= {} if pretrained is None else {"pretrained": dict(pretrained)}
        settings = Settings(network, diameter, recipe.side, about)
    with modes_restored(model), rates_restored(model), own_random_numbers(accelerator.device):
        if not model.training:
            model.train()
        model.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
        examples = Examples(training, recipe, auxiliary)
        check_model(model, examples.shape, accelerator.device)
        state = State(model, recipe, steps)
        if checkpoint is not None:
            saved = load_checkpoint(checkpoint)
            if "choice" not in saved:
                raise ValueError(
                    f"{checkpoint}: an earlier version of this library wrote this checkpoint. "
                    "Resume with that version, or start anew in another folder."
                )
            state.load_state_dict(saved)
        run = _Run(
            accelerator,
            accelerator.prepare(Objective(model, recipe, layout)),
            state,
            examples,
            Validation(validation, training, recipe),
            layout,
            folder,
            settings,
            limit,
        )
        if accelerator.is_main_process:
            if checkpoint is None:
                start_folder(folder, record)
                run.save()
            else:
                lengthen(folder, record)
                save_log(folder, state.log)  # it may be older than the checkpoint
        with tracked(accelerator, record):
            run.advance(workers)
        with state.calibrated() as kept:
            weights = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
        model.load_state_dict(broadcast(weights))  # statistics differ between processes
    is_over = bool(state.log) and state.log[-1].step == steps
    if state.choice is not None and accelerator.is_main_process and is_over:
        state.choice.print_remark()
    return state.log


@dataclass
class _Run:
    """One call of `train`: from the last checkpoint, as far as time allows."""

    accelerator: Accelerator
    objective: nn.Module
    state: State
    examples: Examples
    validation: Validation
    layout: torch.memory_format
    folder: Path
    settings: Settings | None
    limit: TimeLimit
    saved: float = field(default_factory=monotonic)  # time of the last checkpoint
    saved_step: int = -1

    def advance(self, workers: int) -> None:
        """Train, validate and save until the end of the training or of the time."""
        state, first = self.state, self.state.step
        processes = self.accelerator.process_index, self.accelerator.num_processes
        order = len(self.examples), state.recipe, first, state.steps, *processes
        batches = Batches(*order, self.examples.datasets)
        loader = iter(DataLoader(self.examples, batch_sampler=batches, num_workers=workers))
        hidden = not self.accelerator.is_main_process
        shown: dict[str, str] = {}
        with tqdm(total=state.steps, initial=first, unit="step", disable=hidden) as bar:
            while True:
                if self._validation_is_due():
                    if not self._has_time("validation"):
                        break
                    self._validate()
                    self.save()
                    shown = {"F1": f"{state.log[-1].f1:.4f}"}
                if state.step == state.steps:
                    return
                if not self._has_time("step"):
                    break
                with self.limit.timed("step"):
                    self._train_step(batches.of_step(state.step), *next(loader))
                bar.set_postfix(shown | {"loss": f"{state.losses[-1]:.4f}"}, refresh=False)
                bar.update()
                if monotonic() - self.saved > _SAVE_EVERY:
                    self.save()
        if self.saved_step != state.step > first:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        if self.accelerator.is_main_process:
            with self.limit.timed("checkpoint"):
                save_checkpoint(self.folder, self.state.state_dict(), self.state.log)
        self.saved, self.saved_step = monotonic(), self.state.step

    def _validation_is_due(self) -> bool:
        state = self.state
        wanted = state.step == state.steps or state.step % (state.recipe.validate_every or 1) == 0
        done = bool(state.log) and state.log[-1].step == state.step
        return state.step > 0 and wanted and not done

    def _has_time(self, work: str) -> bool:
        """Whether all processes have time for some work and a checkpoint after it."""
        allowed = self.limit.allows(work, "checkpoint")
        if self.accelerator.num_processes == 1 or self.limit.end == inf:
            return allowed
        agreed = self._mean(torch.tensor(float(allowed), device=self.accelerator.device))
        return agreed == 1

    def _mean(self, value: Tensor) -> float:
        """The mean over processes."""
        return self.accelerator.reduce(value.detach(), "mean").item()

    def _train_step(self, numbers: Sequence[int], images: Tensor, targets: Tensor) -> None:
        state, device = self.state, self.accelerator.device
        place = state.step, self.accelerator.process_index
        torch.manual_seed(torch_seed(state.recipe.seed, Use.DROPOUT, *place))
        loss, _ = self.objective(images.to(device), targets.to(device))
        loss.backward()
        limit = state.recipe.max_norm or inf
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), limit).item()
        mean = self._mean(loss)
        if not (isfinite(mean) and isfinite(norm)):
            names = ", ".join(self.examples.names[number] for number in numbers)
            last = checkpoints(self.folder)[-1]
            raise FloatingPointError(
                f"train: at step {state.step + 1} (images {names}) the loss is {mean} and the norm "
                f"of its gradient {norm}. {last} is the last checkpoint. A lower learning rate may "
                "help, in another folder."
            )
        state.losses.append(mean)
        state.update()
        rate = state.optimizer.param_groups[0]["lr"]
        self.accelerator.log({"training/loss": mean, "training/learning_rate": rate}, state.step)

    def _validate(self) -> None:
        """Validate the weights that are kept and, if asked to, write them."""
        state, found = self.state, [*Validated(0.0)]
        if self.accelerator.is_main_process:
            with self.limit.timed("validation"):
                found = [*self.validation(state.kept, self.layout)]
        loss, state.choice, *scores, failed = broadcast_object_list(found)
        if failed is not None:
            raise FloatingPointError(
                f"train: in the validation after step {state.step} the loss of image {failed} is "
                f"{loss}. {checkpoints(self.folder)[-1]} is the last checkpoint."
            )
        state.log.append(LogEntry(state.step, fmean(state.losses), loss, *scores))
        state.losses.clear()
        _, _, *values = state.log[-1]
        names = ("loss", "f1", "auc", "cl_dice")
        named = {f"validation/{name}": one for name, one in zip(names, values, strict=True)}
        self.accelerator.log(named, state.step)
        if self.settings is not None and self.accelerator.is_main_process:
            # Before the checkpoint: after a power cut between the two, resuming repeats both.
            notes = state.log[-1]._asdict()
            notes |= {"bias_shift": 0.0} if state.choice is None else state.choice.notes()
            settings = replace(self.settings, about={**self.settings.about, **notes})
            best = state.log[-1] == min(state.log, key=lambda entry: entry.validation_loss)
            with state.calibrated() as kept:
                for name in ("last", "best") if best else ("last",):
                    save_weights(self.folder / f"{name}.safetensors", kept, settings)


def _accelerator(recipe: Recipe, log_with: Sequence[str], folder: Path) -> Accelerator:
    """The processes, the device and the trackers of the training."""
    check_trackers(log_with)
    accelerator = Accelerator(
        # On a machine without GPU, accelerate must be told about torchrun's processes.
        cpu=not torch.accelerator.is_available(),
        log_with=list(log_with) or None,
        project_dir=folder,
    )
    wanted, got = int(os.environ.get("WORLD_SIZE", "1")), accelerator.num_processes
    if wanted > got:
        raise ValueError(
            f"train: WORLD_SIZE is {wanted}, but accelerate finds {got} process. Start with "
            "torchrun or accelerate launch, or unset WORLD_SIZE."
        )
    if recipe.batch_size % got:
        raise ValueError(
            f"train: recipe.batch_size must be a multiple of the number of processes, {got}, got "
            f"{recipe.batch_size}"
        )
    return accelerator
