"""The command ``train``."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..names import AttentionName, DatasetName, ModelName, RecipeName
from ._diameter import check_diameter
from ._folder import check_folder
from ._numbers import Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.files import FundusFiles
    from ..fundus import Fundus
    from ..network import Network
    from ..training.recipe import Recipe

_OF_NETWORK = ("model", "widths", "p", "block_size", "gamma", "scale", "attention")
_OF_RECIPE = (
    *("seed", "steps", "batch_size", "learning_rate", "validate_every"),
    *("input_scale", "fov_diameter", "dice", "cl_dice", "precision"),
)
_EITHER = (("epochs", "steps"), ("recipe", "config"), ("input_scale", "fov_diameter"))


@dataclass(frozen=True)
class Train:
    """Train a network on a data set, by default by the paper's protocol.

    Writes to the folder --out: the weights to use (last.safetensors), the weights with the lowest
    validation loss (best.safetensors), losses and validation scores (log.csv, curves.png), a record
    of the run's data, network and settings (run.json), and checkpoints. After a stop (--max-time,
    Ctrl-C or a power cut) run the same command with --resume to continue; Ctrl-C costs at most a
    minute of work. For several GPUs, start it with torchrun.
    """

    data: tuple[Path, ...]
    """Folder of the data set, or the CSV file. If you pass several, the network trains on all."""
    dataset: tuple[DatasetName, ...] = ("drive",)
    """Layout of the data set; folder: images/, labels/ and, if you have them, masks/. For several
    data sets, one layout or one for each."""
    model: ModelName | None = None
    """The network; by default rsan."""
    recipe: RecipeName | None = None
    """paper (the default): whole images, 200 epochs (CHASE_DB1: 150), no augmentation. crops:
    random crops of 256 x 256 with random orientation and colour, 1,900 steps; the recipe of the
    shipped weights. cameras: the same with changes of scale, light, optics and compression, for
    images of cameras that took no training image."""
    config: Path | None = None
    """Take the recipe, the network and the starting weights from the run.json of another training;
    other options change them."""
    pretrained: str | None = None
    """Start from these weights: a name of shipped weights (drive, chase_db1), or a weights file.
    Trains their network, with their drop rate and at their diameter of the field of view unless you
    set another here or by --config."""
    freeze: tuple[str, ...] = ()
    """Keep modules unchanged from --pretrained: names or patterns, such as 'encoders' or
    'encoders.*'."""
    out: Path = Path("runs/train")
    """Folder to write to."""
    seed: int | None = None
    """Seed of initial weights, order of images, crops, augmentation and DropBlock; by default 0."""
    epochs: int | None = None
    """Passes over the training images."""
    steps: int | None = None
    """Number of steps, instead of epochs. With --resume, you can give a finished training more."""
    batch_size: int | None = None
    """Images or crops per step; by default 2, for CHASE_DB1 1, with crops 4."""
    learning_rate: float | None = None
    """The highest learning rate; by default 1e-3, with crops 3e-3."""
    validate_every: int | None = None
    """Steps between validations; by default a pass over the images, with crops 100."""
    p: float | None = None
    """DropBlock's drop probability, 1 - keep_prob; by default 0.15, for CHASE_DB1 0.22, with crops
    0.05, and with --pretrained the rate of the weights."""
    block_size: int | None = None
    """DropBlock's block size; by default 7."""
    gamma: Literal["paper", "exact"] | None = None
    """How DropBlock computes its gamma; by default paper. exact drops the fraction p on average."""
    scale: Literal["batch", "constant", "position"] | None = None
    """DropBlock's factor for kept elements; by default batch, the paper's."""
    attention: AttentionName | None = None
    """The attention layer of rsan; by default spatial, the paper's."""
    attention_after: bool = False
    """Apply the attention to the sum of branch and shortcut, not to the branch."""
    widths: Numbers = None
    """Channels of the network's stages, from the first to the bottleneck: 8 16 32 or 8,16,32; by
    default 16 32 64 128."""
    augment: bool = False
    """Flip and rotate whole images at random, and change their brightness and contrast a little."""
    input_scale: float | None = None
    """Resize images by this factor."""
    fov_diameter: float | None = None
    """Resize each image until its field of view has this diameter in pixels, so that vessels are
    about as wide in all images."""
    shares: tuple[float, ...] = ()
    """Relative number of crops of each data set, in the order of --data; for a CSV file, in the
    order in which the data sets are printed. By default each image gives the same number of
    crops."""
    dice: float | None = None
    """Weight of the Dice loss beside cross entropy; by default 0."""
    cl_dice: float | None = None
    """Weight of the soft clDice loss beside cross entropy; by default 0."""
    auxiliary: Path | None = None
    """Folder of probability maps of the training images, as additional targets."""
    auxiliary_share: float | None = None
    """Share of the probability maps in the target; by default 0.5."""
    fold: str | None = None
    """Cross-validation without the test images: 1/5 leaves out the first of five parts of the
    training images. evaluate --fold 1/5 scores on it."""
    precision: Literal["auto", "bf16", "no"] | None = None
    """bf16: mixed precision; no: float32; auto (the default): bf16 if the machine has instructions
    for it."""
    memory_efficient: bool = False
    """Keep fewer tensors in a training step, for about an eighth more time: cheap parts are
    computed twice. The weights are the same. You can resume a stopped training with or without
    it."""
    workers: int = 0
    """How many processes prepare crops and images; they do not change the result."""
    log_with: tuple[str, ...] = ()
    """Also log losses and scores with these trackers: tensorboard (extra [tensorboard]; it writes
    to --out), wandb, mlflow and others of accelerate, if they are installed."""
    resume: bool = False
    """Continue the training in --out."""
    max_time: str | None = None
    """Stop within this time: 540 and 00:09:00 are nine minutes."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        self._check()
        import torch
        from accelerate import PartialState

        from ..allocator import keep_freed_memory
        from ..network import Network
        from ..protocol import RECIPES
        from ..training.checkpoint import is_finished, progress
        from ..training.curves import save_training_curves
        from ..training.loop import train
        from ..weights import named_weights
        from ._config import read_config
        from ._dataset import open_datasets
        from ._pretrained import freeze, origin, start_from
        from ._sets import padded, sizes_of
        from ._time import seconds_left

        keep_freed_memory()
        config = None if self.config is None else read_config(self.config)
        weights = self.pretrained or (config.pretrained if config else None)
        trained = None if weights is None else named_weights(weights)
        if self.freeze and trained is None:
            raise ValueError("train: --freeze needs --pretrained: other weights are random")
        protocol, split = open_datasets(self.dataset, self.data, self.fold)
        protocol = RECIPES[self.recipe or "paper"](protocol)
        training, validation = (
            [files.read() for files in part] for part in (split.training, split.validation)
        )
        recipe = self._recipe(
            protocol.recipe if config is None else config.recipe,
            training,
            trained.settings.fov_diameter if trained and not config else None,
        )
        recipe = padded(recipe, protocol.recipe.side, [*training, *validation])
        known = config.network if config else trained.settings.network if trained else None
        network = self._network(known or Network(p=protocol.p))
        torch.manual_seed(recipe.seed)
        model = network.build()
        model.memory_efficient = self.memory_efficient
        source = None
        if trained is not None and weights is not None:
            frozen = self.freeze or (config.freeze if config else ())
            start_from(model, network, trained, weights)
            freeze(model, frozen)
            source = origin(trained, weights, frozen)
            if config is not None and not self.pretrained:
                config.check_same(source)
        if int(os.environ.get("RANK", "0")) == 0:  # of torchrun's processes
            print(*sizes_of([*training, *validation], recipe), sep="\n", flush=True)
        log = train(
            model,
            training,
            validation,
            recipe,
            self.out,
            network=network,
            dataset="+".join(dict.fromkeys(fundus.dataset for fundus in training)),
            auxiliary=self._auxiliary(split.training, training),
            pretrained=source,
            resume=self.resume,
            max_time=seconds_left(self.max_time, reserve=2.0),  # for the curves
            workers=self.workers,
            log_with=self.log_with,
        )
        if not PartialState().is_main_process:
            return
        if log:
            save_training_curves(self.out / "curves.png", log)
        done, steps = progress(self.out)
        if not is_finished(self.out):
            print(f"Stopped after step {done} of {steps}. --resume continues.")
        else:
            print(
                f"Trained for {steps} steps. Saved weights, log and curves in {self.out}. Use "
                "last.safetensors."
            )

    def _check(self) -> None:
        """Check that the options go together."""
        check_diameter(self.fov_diameter)
        for one, other in _EITHER:
            if self._given(one) and self._given(other):
                options = (f"--{name.replace('_', '-')}" for name in (one, other))
                raise ValueError(f"train: pass either {' or '.join(options)}")
        if self.auxiliary is None and self.auxiliary_share is not None:
            raise ValueError("train: --auxiliary-share needs --auxiliary")

    def _given(self, *names: str) -> dict[str, Any]:
        """The options of these names that were given."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _network(self, base: "Network") -> "Network":
        """The network with the options of the command."""
        network = replace(base, **self._given(*_OF_NETWORK))
        return replace(network, attention_after=True) if self.attention_after else network

    def _recipe(
        self, base: "Recipe", training: "list[Fundus]", fov_diameter: float | None
    ) -> "Recipe":
        """The recipe with the options of the command.

        Args:
            base: The recipe without them.
            training: The training images.
            fov_diameter: The diameter of the field of view, unless an option sets the size.
        """
        from ..training.augment import Augmentation

        changes = self._given(*_OF_RECIPE)
        if not self._given("input_scale", "fov_diameter") and fov_diameter is not None:
            changes["fov_diameter"] = fov_diameter
        if "fov_diameter" in changes:
            changes["input_scale"] = 1.0
        elif "input_scale" in changes:
            changes["fov_diameter"] = None
        if self.epochs is not None:
            changes |= {"epochs": self.epochs, "steps": None}
        if shares := self._shares(base, training):
            changes["shares"] = shares
        if self.augment and base.crops is not None:
            raise ValueError("train: --augment is for whole images; crops are always changed")
        if self.augment:
            changes["augmentation"] = Augmentation(
                flip=True, rotate=True, brightness=0.1, gamma=0.1
            )
        if self.auxiliary is not None:
            share = base.auxiliary or 0.5
            changes["auxiliary"] = share if self.auxiliary_share is None else self.auxiliary_share
        elif base.auxiliary:
            raise ValueError("train: the run of --config has auxiliary targets: pass --auxiliary")
        return replace(base, **changes)

    def _shares(self, base: "Recipe", training: "list[Fundus]") -> dict[str, float]:
        """The shares that were given, by the names of the data sets."""
        names = list(dict.fromkeys(fundus.dataset for fundus in training))
        if not self.shares and (base.shares is None or {*base.shares} == {*names}):
            return {}
        if len(names) != len(self.shares):
            raise ValueError(
                f"train: --shares must have a number for each of {', '.join(names)}, got "
                f"{len(self.shares)}"
            )
        return dict(zip(names, self.shares, strict=True))

    def _auxiliary(
        self, files: "list[FundusFiles]", images: "list[Fundus]"
    ) -> "dict[str, NDArray[np.floating]] | None":
        """The probability maps of the training images."""
        if self.auxiliary is None:
            return None
        from ..data.predictions import find_predictions, read_prediction

        found = find_predictions(self.auxiliary, files)
        return {fundus.name: read_prediction(self.auxiliary, found, fundus) for fundus in images}
