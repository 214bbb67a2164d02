"""The command ``train``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..names import DatasetName, ModelName


@dataclass(frozen=True)
class Train:
    """Train a network on a data set, by default by the paper's protocol.

    Writes to the folder --out the weights of the last epoch (last.safetensors) and of the epoch
    with the lowest validation loss (best.safetensors), the losses (log.csv, curves.png) and a
    checkpoint. After a stop (Ctrl-C, --max-time or a power cut) the same command with --resume
    continues.
    """

    data: Path
    """Folder of the data set."""
    dataset: DatasetName = "drive"
    """Layout of the data set; folder: images/, labels/ and, if you have them, masks/."""
    model: ModelName = "rsan"
    """The network."""
    out: Path = Path("runs/train")
    """Folder to write to."""
    seed: int = 0
    """Seed of initial weights, order of images, augmentation and DropBlock."""
    epochs: int | None = None
    """Passes over the training images; by default 200, for CHASE_DB1 150."""
    p: float | None = None
    """DropBlock's drop probability, 1 - keep_prob; by default 0.15, for CHASE_DB1 0.22."""
    block_size: int = 7
    """DropBlock's block size."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the network's stages, from the first to the bottleneck."""
    augment: bool = False
    """Flip and rotate images at random, and change their brightness and contrast a little."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """bf16: mixed precision; no: float32; auto: bf16 if the machine has instructions for it."""
    resume: bool = False
    """Continue the training in --out; start one if there is none."""
    max_time: str | None = None
    """Stop after the last epoch that ends within this time: 00:09:00 is nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        import torch

        from ..allocator import keep_freed_memory
        from ..evaluation.plots import save_training_curves
        from ..network import Network
        from ..training.augment import Augmentation
        from ..training.loop import train
        from ._dataset import open_dataset
        from ._time import seconds_left

        keep_freed_memory()
        protocol, split = open_dataset(self.dataset, self.data)
        recipe = replace(protocol.recipe, seed=self.seed, precision=self.precision)
        if self.epochs is not None:
            recipe = replace(recipe, epochs=self.epochs)
        if self.augment:
            mild = Augmentation(flip=True, rotate=True, brightness=0.1, gamma=0.1)
            recipe = replace(recipe, augmentation=mild)
        rate = protocol.p if self.p is None else self.p
        network = Network(self.model, self.widths, p=rate, block_size=self.block_size)
        torch.manual_seed(self.seed)
        model = network.build()
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
            resume=self.resume,
            max_time=seconds_left(self.max_time),
        )
        if log:
            save_training_curves(self.out / "curves.png", log)
        if len(log) < recipe.epochs:
            print(f"Stopped after epoch {len(log)} of {recipe.epochs}. --resume continues.")
        else:
            print(
                f"Trained for {recipe.epochs} epochs. Saved weights, log and curves in {self.out}"
            )
