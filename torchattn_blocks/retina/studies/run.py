"""A run of a study: one training and its evaluations, and the folder that holds them."""

from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

# The evaluations of a run: the folder of the report, and the arguments of `evaluate`. The paper
# scores the last epoch's weights; the best were chosen on the validation images.
EVALUATIONS = {
    "last": ("last.safetensors",),
    "last-flips": ("last.safetensors", "--flips"),
    "best": ("best.safetensors",),
    "best-flips": ("best.safetensors", "--flips"),
}


NEVER_SEEN = "all images, never seen"  # for a data set that was left out of a training


class System(NamedTuple):
    """What runs have in common if they differ only in seed, fold and data sets.

    Attributes:
        model: Name of the network.
        recipe: Name of the recipe.
        options: The further options of the training, as the folder of a run names them.
    """

    model: str
    recipe: str
    options: str


class Run(NamedTuple):
    """One training of a study and its evaluations.

    Attributes:
        dataset: Name of the data set, as in the command `train`.
        model: Name of the network.
        recipe: Name of the recipe.
        options: Further options of the command `train` by name, in alphabetical order. A value is
            text, a number, a truth value or a tuple of numbers.
        seed: Seed of the training.
        trained_on: Names of the data sets to train on; then all images of `dataset` are scored.
            Empty: training is on `dataset` itself.

    Example:
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina.studies.run import Run
        >>> run = Run("drive", "rsan", "paper", (("augment", True), ("fold", "1/5")), seed=0)
        >>> run.folder(Path("out")).as_posix()
        'out/drive/rsan/paper/augment,fold=1of5/seed-0'
        >>> run.training()
        ['--model', 'rsan', '--recipe', 'paper', '--seed', '0', '--augment', '--fold', '1/5']
    """

    dataset: str
    model: str
    recipe: str
    options: tuple[tuple[str, Any], ...]
    seed: int
    trained_on: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The data sets of the training, then the scored data set if it is another."""
        return (*self.trained_on, self.dataset)

    @property
    def fold(self) -> str | None:
        """The fold of a cross-validation, such as ``"1/5"``."""
        return dict(self.options).get("fold")

    @property
    def images(self) -> str:
        """What is scored: ``"test images"``, ``"5 folds"`` of the training images, or all."""
        if self.trained_on:
            return NEVER_SEEN
        return f"{self.fold.partition('/')[2]} folds" if self.fold else "test images"

    @property
    def system(self) -> System:
        """The run without data sets, seed and fold."""
        others = tuple(option for option in self.options if option[0] != "fold")
        return System(self.model, self.recipe, _slug(others))

    def folder(self, out: Path) -> Path:
        """The folder of the run in the folder of its study."""
        options = _slug(self.options)
        if self.trained_on:
            options = f"trained-on={'-'.join(self.trained_on)},{options}"
        return out / self.dataset / self.model / self.recipe / options / f"seed-{self.seed}"

    def report(self, out: Path, evaluation: str) -> Path:
        """The report of one of the evaluations."""
        return self.folder(out) / evaluation / "report.json"

    def is_finished(self, out: Path) -> bool:
        """Whether all reports are there, wherever they were made."""
        return all(self.report(out, evaluation).is_file() for evaluation in EVALUATIONS)

    def training(self) -> list[str]:
        """The run as arguments of the command `train`."""
        words = ["--model", self.model, "--recipe", self.recipe, "--seed", str(self.seed)]
        for name, value in self.options:
            words += [_flag(name, value)] if isinstance(value, bool) else [f"--{name}"]
            words += _words(value)
        return words


def _slug(options: tuple[tuple[str, Any], ...]) -> str:
    """Options as the name of a folder; different options have different names."""
    parts = []
    for name, value in options:
        words = _words(value)
        if name == "fold":
            words = [word.replace("/", "of") for word in words]
        text = "-".join(quote(word, safe="") for word in words)
        parts.append(_flag(name, value)[2:] if isinstance(value, bool) else f"{name}={text}")
    return ",".join(parts) or "default"


def _flag(name: str, value: bool) -> str:
    return f"--{name}" if value else f"--no-{name}"


def _words(value: Any) -> list[str]:
    """The value of an option as words of a command line."""
    if isinstance(value, bool):
        return []
    return [str(part) for part in (value if isinstance(value, tuple) else (value,))]
