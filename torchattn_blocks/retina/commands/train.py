"""The command ``train``."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..names import AttentionName, DatasetName, ModelName, RecipeName
from ._folder import check_folder
from ._numbers import Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.files import FundusFiles
    from ..fundus import Fundus
    from ..training.recipe import Recipe


@dataclass(frozen=True)
class Train:
    """Train a network on a data set, by default by the paper's protocol.

    Writes to the folder --out the last weights (last.safetensors) and those with the lowest
    validation loss (best.safetensors), the losses (log.csv, curves.png), a record of everything
    that made them (run.json) and checkpoints. After a stop (--max-time, Ctrl-C or a power cut) the
    same command with --resume continues; Ctrl-C costs at most a minute of work. For several GPUs,
    start it with torchrun.
    """

    data: Path
    """Folder of the data set, or the CSV file."""
    dataset: DatasetName = "drive"
    """Layout of the data set; folder: images/, labels/ and, if you have them, masks/."""
    model: ModelName = "rsan"
    """The network."""
    recipe: RecipeName = "paper"
    """paper: whole images, 200 epochs (CHASE_DB1: 150), no augmentation. crops: random crops of
    256 x 256 with random orientation and colour, 1,900 steps; the recipe of the shipped weights."""
    out: Path = Path("runs/train")
    """Folder to write to."""
    seed: int = 0
    """Seed of initial weights, order of images, crops, augmentation and DropBlock."""
    epochs: int | None = None
    """Passes over the training images."""
    steps: int | None = None
    """Number of steps, in place of epochs."""
    batch_size: int | None = None
    """Images or crops per step; by default 2, for CHASE_DB1 1, with crops 4."""
    p: float | None = None
    """DropBlock's drop probability, 1 - keep_prob; by default 0.15, for CHASE_DB1 0.22, with crops
    0.05."""
    block_size: int = 7
    """DropBlock's block size."""
    gamma: Literal["paper", "exact"] = "paper"
    """How DropBlock computes its gamma; exact: it drops the fraction p on average."""
    scale: Literal["batch", "constant", "position"] = "batch"
    """DropBlock's factor for kept elements; batch is the paper's."""
    attention: AttentionName = "spatial"
    """The attention layer of rsan; spatial is the paper's."""
    attention_after: bool = False
    """Apply the attention to the sum of branch and shortcut, not to the branch."""
    widths: Numbers = (16, 32, 64, 128)
    """Channels of the network's stages, from the first to the bottleneck: 8 16 32 or 8,16,32."""
    augment: bool = False
    """Flip and rotate whole images at random, and change their brightness and contrast a little."""
    input_scale: float = 1.0
    """Resize images by this factor."""
    dice: float = 0.0
    """Weight of the Dice loss beside cross entropy."""
    cl_dice: float = 0.0
    """Weight of the soft clDice loss beside cross entropy."""
    auxiliary: Path | None = None
    """Folder of probability maps of the training images, as additional targets."""
    auxiliary_share: float | None = None
    """Share of the probability maps in the target; by default 0.5."""
    fold: str | None = None
    """Cross-validation without the test images: 1/5 leaves out the first of five parts of the
    training images. evaluate --fold 1/5 scores on it."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """bf16: mixed precision; no: float32; auto: bf16 if the machine has instructions for it."""
    memory_efficient: bool = False
    """Keep fewer tensors in a training step, for about an eighth more time: cheap parts are
    computed twice. Weights are the same. A stopped training can be resumed with or without."""
    workers: int = 0
    """Processes that prepare crops and images; they do not change the result."""
    resume: bool = False
    """Continue the training in --out."""
    max_time: str | None = None
    """Stop within this time: 540 and 00:09:00 are nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        import torch
        from accelerate import PartialState

        from ..allocator import keep_freed_memory
        from ..network import Network
        from ..protocol import on_crops
        from ..training.checkpoint import is_finished, progress
        from ..training.curves import save_training_curves
        from ..training.loop import train
        from ._dataset import open_dataset
        from ._time import seconds_left

        keep_freed_memory()
        protocol, split = open_dataset(self.dataset, self.data, self.fold)
        if self.recipe == "crops":
            protocol = on_crops(protocol)
        recipe = self._changed(protocol.recipe)
        network = Network(
            self.model,
            self.widths,
            p=protocol.p if self.p is None else self.p,
            block_size=self.block_size,
            gamma=self.gamma,
            scale=self.scale,
            attention=self.attention,
            attention_after=self.attention_after,
        )
        torch.manual_seed(self.seed)
        model = network.build()
        model.memory_efficient = self.memory_efficient
        training, validation = (
            [files.read() for files in part] for part in (split.training, split.validation)
        )
        log = train(
            model,
            training,
            validation,
            recipe,
            self.out,
            network=network,
            dataset=self.dataset,
            auxiliary=self._auxiliary(split.training, training),
            resume=self.resume,
            max_time=seconds_left(self.max_time, reserve=2.0),  # for the curves
            workers=self.workers,
        )
        if not PartialState().is_main_process:
            return
        if log:
            save_training_curves(self.out / "curves.png", log)
        done, steps = progress(self.out)
        if not is_finished(self.out):
            print(f"Stopped after step {done} of {steps}. --resume continues.")
        else:
            print(f"Trained for {steps} steps. Saved weights, log and curves in {self.out}")

    def _changed(self, recipe: "Recipe") -> "Recipe":
        """The recipe with the options of the command."""
        from ..training.augment import Augmentation

        changes: dict[str, Any] = {"seed": self.seed, "precision": self.precision}
        changes |= {name: getattr(self, name) for name in ("input_scale", "dice", "cl_dice")}
        if self.epochs is not None and self.steps is not None:
            raise ValueError("train: pass either --epochs or --steps")
        if self.epochs is not None:
            changes |= {"epochs": self.epochs, "steps": None}
        if self.steps is not None:
            changes["steps"] = self.steps
        if self.batch_size is not None:
            changes["batch_size"] = self.batch_size
        if recipe.side is not None:
            # The padding is resized too, and stays a multiple of 8.
            changes["side"] = 8 * math.ceil(recipe.side * self.input_scale / 8)
        if self.augment and recipe.crops is not None:
            raise ValueError("train: --augment is for whole images; crops are always changed")
        if self.augment:
            changes["augmentation"] = Augmentation(
                flip=True, rotate=True, brightness=0.1, gamma=0.1
            )
        if self.auxiliary is None and self.auxiliary_share is not None:
            raise ValueError("train: --auxiliary-share needs --auxiliary")
        if self.auxiliary is not None:
            share = 0.5 if self.auxiliary_share is None else self.auxiliary_share
            changes["auxiliary"] = share
        return replace(recipe, **changes)

    def _auxiliary(
        self, files: "list[FundusFiles]", images: "list[Fundus]"
    ) -> "dict[str, NDArray[np.floating]] | None":
        """The probability maps of the training images."""
        if self.auxiliary is None:
            return None
        from ..data.predictions import find_predictions, read_prediction

        found = find_predictions(self.auxiliary, files)
        return {fundus.name: read_prediction(self.auxiliary, found, fundus) for fundus in images}
