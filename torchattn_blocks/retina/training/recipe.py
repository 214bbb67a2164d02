"""The options of a training, as plain data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from ..._check import check_choice, check_ints, check_kind, check_numbers, make_plain
from ..._torch import has_bfloat16_on_cpu
from ..data.tensors import ALIKE
from .augment import Augmentation
from .crops import Crops


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the paper's training on DRIVE, without padding.

    The optimiser is Adam, or AdamW if there is weight decay. The loss is binary cross entropy, to
    which Dice losses can be added.

    Attributes:
        epochs: Number of passes over the training images, at least 1.
        steps: Number of steps, at least 1, instead of `epochs`.
        batch_size: Images or crops per step, at least 1, in all processes together.
        crops: Train on random crops. None: on whole images.
        side: Pad images with zeros around them to squares of `side` x `side` pixels. None: no
            padding; then all images must have the same size. Not with `crops`.
        input_scale: Resize images, vessel masks and fields of view by this factor before anything
            else, above 0; 1 or at least 3 % off. `segment` resizes images for the trained network
            in the same way.
        fov_diameter: Resize each image until its field of view has this diameter in pixels, above
            0, as `segment` then does too. This puts images of several cameras on one scale. Not
            with `input_scale`. None: no resizing.
        shares: Relative number of crops of each data set, above 0, by the ``Fundus.dataset`` of its
            images. None: each image gives the same number of crops. Only with `crops`.
        augmentation: Random changes of whole training images.
        learning_rate: The highest learning rate, above 0.
        schedule: ``"step"``: the learning rate falls to a tenth after `first_part` of the steps.
            ``"cosine"``: it falls to 0 by half a cosine.
        first_part: See `schedule`, 0 to 1.
        warm_up: Fraction of the steps, 0 to 1, over which the learning rate first rises linearly.
        weight_decay: AdamW's weight decay of weights with two or more dimensions, at least 0.
        max_norm: Gradients with a larger norm are scaled down to it; above 0. None: never.
        dice: Weight of the Dice loss beside cross entropy, at least 0.
        cl_dice: Weight of the soft clDice loss beside cross entropy, at least 0.
        cl_dice_iterations: Iterations of its soft skeleton, at least 0. With k iterations the loss
            does not see vessels of more than 2 k + 2 pixels in width. None: as many as the training
            masks need. If you set fewer, there is an error. (10 for CHASE_DB1, 5 for DRIVE, at
            their own sizes.)
        auxiliary: Share, 0 to 1, of auxiliary targets in the target; the rest is the vessel mask.
            (Cross entropy is linear in its target, so this is a weighted sum of two losses.)
        ramp: Fraction of the steps, 0 to 1, over which the probability of every DropBlock rises
            linearly from 0 to its own.
        average: Decay of the exponential moving average of weights and statistics, in [0, 1). The
            averaged weights are validated and kept. 0: no average. The average is corrected for its
            start, as Adam's moments are.
        calibrate: Shift the last layer's bias in the weights that are kept, so that 0.5 is the
            threshold with the best F1 within the field of view of the validation images and up to
            ten training images, all pixels pooled. The shift does not change AUC. The model must
            have ``head.bias``, as a `UNet` has.
        validate_every: Steps between validations, at least 1. None: a pass over the images.
        seed: Seed of the order of images, of crops and augmentation and of DropBlock, in [0,
            2**32).
        precision: ``"bf16"`` for mixed precision, ``"no"`` for float32, ``"auto"`` for mixed
            precision if the machine has instructions for bfloat16.

    Raises:
        TypeError: If a count is not an int, a number not an int or float, or another attribute has
            a type not listed above.
        ValueError: If an attribute is outside the bounds above, `crops` is given together with
            `side` or `augmentation`, `fov_diameter` with `input_scale`, or `shares` without
            `crops`.

    Example:
        >>> from torchattn_blocks.retina import Recipe
        >>> recipe = Recipe(epochs=200, first_part=0.75)
        >>> steps = recipe.steps_for(18)
        >>> steps, recipe.learning_rate_at(1349, steps), recipe.learning_rate_at(1350, steps)
        (1800, 0.001, 0.0001)
    """

    epochs: int = 200
    steps: int | None = None
    batch_size: int = 2
    crops: Crops | None = None
    side: int | None = None
    input_scale: float = 1.0
    fov_diameter: float | None = None
    shares: Mapping[str, float] | None = field(default=None, hash=False)
    augmentation: Augmentation = field(default_factory=Augmentation)
    learning_rate: float = 1e-3
    schedule: Literal["step", "cosine"] = "step"
    first_part: float = 0.75
    warm_up: float = 0.0
    weight_decay: float = 0.0
    max_norm: float | None = None
    dice: float = 0.0
    cl_dice: float = 0.0
    cl_dice_iterations: int | None = None
    auxiliary: float = 0.0
    ramp: float = 0.0
    average: float = 0.0
    calibrate: bool = False
    validate_every: int | None = None
    seed: int = 0
    precision: Literal["auto", "bf16", "no"] = "auto"

    def __post_init__(self) -> None:
        """Check types and bounds."""
        if isinstance(self.shares, Mapping):
            object.__setattr__(self, "shares", dict(self.shares))
        make_plain(self)
        counts = ("epochs", "steps", "batch_size", "side", "validate_every")
        optional = ("steps", "side", "validate_every", "max_norm", "fov_diameter")
        given = {k: v for k, v in vars(self).items() if v is not None or k not in optional}
        check_ints("Recipe", 1, **{name: given[name] for name in counts if name in given})
        if self.cl_dice_iterations is not None:
            check_ints("Recipe", 0, cl_dice_iterations=self.cl_dice_iterations)
        check_ints("Recipe", 0, 2**32 - 1, seed=self.seed)
        above = ("learning_rate", "input_scale", "fov_diameter", "max_norm")
        check_numbers("Recipe", 0, ends="(]", **{n: given[n] for n in above if n in given})
        least = ("weight_decay", "dice", "cl_dice")
        check_numbers("Recipe", 0, **{name: given[name] for name in least})
        fractions = ("first_part", "warm_up", "auxiliary", "ramp")
        check_numbers("Recipe", 0, 1, **{name: given[name] for name in fractions})
        check_numbers("Recipe", 0, 1, ends="[)", average=self.average)
        check_kind("Recipe", Crops, None, crops=self.crops)
        check_kind("Recipe", Augmentation, augmentation=self.augmentation)
        check_kind("Recipe", bool, calibrate=self.calibrate)
        check_choice("Recipe", ("step", "cosine"), schedule=self.schedule)
        check_choice("Recipe", _PRECISIONS, precision=self.precision)
        if 0 < abs(self.input_scale - 1) < ALIKE:
            raise ValueError(
                f"Recipe: input_scale must be 1 or differ from it by {ALIKE} or more, got "
                f"{self.input_scale}: segment resizes no image by less"
            )
        if self.fov_diameter is not None and self.input_scale != 1:
            raise ValueError("Recipe: pass either input_scale or fov_diameter")
        check_kind("Recipe", Mapping, None, shares=self.shares)
        shares = {f"shares[{name!r}]": share for name, share in (self.shares or {}).items()}
        check_numbers("Recipe", 0, ends="(]", **shares)
        if self.shares is not None and not self.shares:
            raise ValueError("Recipe: shares must name at least 1 data set, got none")
        if self.shares is not None and self.crops is None:
            raise ValueError("Recipe: shares are of crops; crops must be given with them")
        if self.crops is not None and (self.side is not None or self.augmentation.changes()):
            raise ValueError("Recipe: with crops, side must be None and augmentation the default")

    def steps_for(self, images: int) -> int:
        """The number of steps of a training on so many images."""
        return self.steps or self.epochs * self.steps_in_a_pass(images)

    def steps_in_a_pass(self, images: int) -> int:
        """The number of steps in which each of so many images is seen once, rounded up."""
        return math.ceil(images / self.batch_size)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of a training of so many steps."""
        rising = round(self.warm_up * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "cosine":
            way = (step - rising) / (steps - rising)
            return self.learning_rate * (1 + math.cos(math.pi * way)) / 2
        falls = step >= round(self.first_part * steps)
        return self.learning_rate / 10 if falls else self.learning_rate

    def as_data(self) -> dict[str, Any]:
        """All options that count, for files; for example without `epochs` if there are `steps`."""
        counted = asdict(self)
        if self.steps is not None:
            del counted["epochs"]
        if not self.cl_dice:
            del counted["cl_dice_iterations"]
        return counted

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Recipe":
        """The recipe from the result of `as_data`, also after it went through JSON.

        Args:
            data: The options; missing ones have their defaults.

        Raises:
            TypeError: If there is an unknown option, or one of a wrong type.
            ValueError: If an option is outside its bounds.
        """
        options = dict(data)
        if options.get("crops") is not None:
            options["crops"] = Crops(**options["crops"])
        if "augmentation" in options:
            options["augmentation"] = Augmentation(**options["augmentation"])
        return cls(**options)

    def resolved_precision(self) -> Literal["bf16", "no"]:
        """The precision on this machine."""
        if self.precision != "auto":
            return self.precision
        return "bf16" if has_bfloat16() else "no"


def has_bfloat16() -> bool:
    """Whether the machine has instructions for bfloat16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_bfloat16_on_cpu()


_PRECISIONS = ("auto", "bf16", "no")

CROPS_RECIPE = Recipe(
    steps=1900,
    batch_size=4,
    crops=Crops(),
    learning_rate=3e-3,
    schedule="cosine",
    warm_up=0.1,
    weight_decay=0.01,
    max_norm=1.0,
    ramp=0.5,
    average=0.995,
    calibrate=True,
    validate_every=100,
)
"""Crops of 256 x 256 pixels in batches of 4, 1,900 steps: the recipe of the shipped weights, whose
networks have DropBlock with p = 0.05 (`on_crops`).
"""

CAMERAS_RECIPE = replace(
    CROPS_RECIPE,
    crops=Crops(
        free=0.75,
        zoom=(0.5, 2.0),
        gain=0.2,
        channel_gain=0.1,
        gamma=0.2,
        contrast=0.2,
        light=0.2,
        vignette=0.5,
        reflex=0.4,
        blur=1.0,
        noise=0.03,
        jpeg=40,
    ),
)
"""The same with crops as other cameras may see them: vessels of half to twice the width, and every
change of light, optics and compression that `Crops` has. For images of cameras that took no
training image; the command `train` has it as ``--recipe cameras``.
"""
