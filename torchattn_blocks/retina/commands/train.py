"""The command that trains."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..names import DatasetName, ModelName


@dataclass(frozen=True)
class Train:
    """Train a network on a data set, by the paper's protocol unless told otherwise.

    The folder given as --out receives the weights (last.safetensors, and best.safetensors, which
    had the least loss on the validation images), the losses (log.csv, curves.png) and what is
    needed to go on after a stop, by Ctrl-C, by --max-time or by a power cut: the same command with
    --resume.
    """

    data: Path
    """Folder of the data set."""
    dataset: DatasetName = "drive"
    """Its layout: DRIVE's, CHASE_DB1's, or any tree of images/ and labels/, with or without masks/.
    """
    model: ModelName = "rsan"
    """The network."""
    out: Path = Path("runs/train")
    """Folder to write to."""
    seed: int = 0
    """Of the first weights, the order of images, augmentation and DropBlock."""
    epochs: int | None = None
    """Passes over the training images; by default the protocol's 200, for CHASE_DB1 150."""
    p: float | None = None
    """DropBlock's rate, 1 - keep_prob; by default the protocol's .15, for CHASE_DB1 .22."""
    block_size: int = 7
    """Side of DropBlock's blocks."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the network's stages, down to the bottleneck."""
    augment: bool = False
    """Flip images, turn them by right angles, and change brightness and contrast mildly."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """Mixed precision in bfloat16, or none; auto: where the machine computes in bfloat16."""
    resume: bool = False
    """Go on where the run in --out stopped; start where there is none."""
    max_time: str | None = None
    """Stop after the last epoch that ends within this time, as 00:09:00 for nine minutes."""

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
            print(f"Stopped in time, after epoch {len(log)} of {recipe.epochs}: --resume goes on.")
        else:
            print(f"Trained for {recipe.epochs} epochs. Weights, log and curves are in {self.out}")
