"""The report of an evaluation: scores by each of the protocols that papers use."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..._check import check_kind, is_number
from ..write import write_whole
from .by_key import ReadByKey
from .scores import Spread
from .tables import markdown_table

VIEWS = {"whole": "Whole images", "fov": "Within the field of view"}
_PARTS = ("images", "threshold", "whole", "fov", "chosen", "second_observer")  # of a report file


@dataclass(frozen=True)
class ViewScores:
    """Scores of whole images, or within the field of view.

    Attributes:
        pooled: Scores of all pixels of all images together, by name, as from `pooled_scores`.
        per_image: Mean and standard deviation over images of the same scores and of ``clDice``.

    Example:
        >>> from torchattn_blocks.retina import Spread, ViewScores
        >>> scores = ViewScores({"F1": 0.82}, {"F1": Spread(mean=0.81, std=0.02)})
        >>> scores.per_image["F1"].std
        0.02
    """

    pooled: Mapping[str, float]
    per_image: Mapping[str, Spread]

    def statistics(self) -> dict[str, dict[str, float]]:
        """The scores of all images by statistic: ``"pooled"``, ``"mean"`` and ``"std"``."""
        return {
            "pooled": dict(self.pooled),
            "mean": {name: score.mean for name, score in self.per_image.items()},
            "std": {name: score.std for name, score in self.per_image.items()},
        }

    def as_data(self) -> dict[str, Any]:
        """The scores as they stand in a report file."""
        each = {name: score._asdict() for name, score in self.per_image.items()}
        return {"pooled": dict(self.pooled), "per_image": each}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "ViewScores":
        """The scores of a report file, in which an undefined score is None."""
        each = {
            n: Spread(_score(s["mean"]), _score(s["std"])) for n, s in data["per_image"].items()
        }
        return cls({name: _score(score) for name, score in data["pooled"].items()}, each)


@dataclass(frozen=True)
class SystemScores:
    """Scores of the network at one threshold, or of the second observer.

    Attributes:
        threshold: A pixel with a probability above it counts as vessel.
        whole: Scores of whole images.
        fov: Scores within the field of view.

    Example:
        >>> from torchattn_blocks.retina import SystemScores, evaluate, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1], chosen_threshold=0.4)
        >>> isinstance(evaluation.chosen, SystemScores), evaluation.chosen.fov.pooled["F1"]
        (True, 1.0)
    """

    threshold: float
    whole: ViewScores
    fov: ViewScores

    def views(self) -> dict[str, ViewScores]:
        """The scores by view: ``"whole"`` and ``"fov"``."""
        return {"whole": self.whole, "fov": self.fov}

    def as_data(self) -> dict[str, Any]:
        """The views as they stand in a report file."""
        return {view: scores.as_data() for view, scores in self.views().items()}

    @classmethod
    def from_data(cls, threshold: Any, data: Mapping[str, Any]) -> "SystemScores":
        """The scores of a report file."""
        return cls(_score(threshold), *(ViewScores.from_data(data[view]) for view in VIEWS))


@dataclass(frozen=True)
class Evaluation(ReadByKey):
    """Scores by each of the protocols that papers use, as `evaluate` returns them.

    Attributes:
        images: The names of the images.
        network: The scores at the threshold 0.5.
        chosen: The scores at a threshold chosen on other images, or None.
        second_observer: The scores of the second observer's vessel masks; None unless all images
            have one.
        about: Other entries of the report file: data set, weights and so on.

    Raises:
        TypeError: If `about` is not a mapping.
        ValueError: If `about` has a key that the file uses for scores, or the systems have scores
            of different names.

    Example:
        >>> from torchattn_blocks.retina import Evaluation, evaluate, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation: Evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> evaluation.fov.pooled["F1"], evaluation.second_observer.fov.pooled["F1"] < 1
        (1.0, True)
    """

    images: tuple[str, ...]
    network: SystemScores
    chosen: SystemScores | None = None
    second_observer: SystemScores | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that tables and file can hold it."""
        check_kind("Evaluation", Mapping, about=self.about)
        if taken := sorted({*self.about} & {*_PARTS}):
            raise ValueError(f"Evaluation: about must not hold {', '.join(_PARTS)}, got {taken}")
        views = [view for system in self.systems().values() for view in system.views().values()]
        for kind in ("pooled", "per_image"):
            names = [sorted(getattr(view, kind)) for view in views]
            if any(each != names[0] for each in names):
                raise ValueError(
                    f"Evaluation: {kind} must hold the same scores for each system and view, got "
                    f"{names}"
                )

    @property
    def threshold(self) -> float:
        """The threshold of `network`, 0.5."""
        return self.network.threshold

    @property
    def whole(self) -> ViewScores:
        """The scores of whole images at the threshold 0.5."""
        return self.network.whole

    @property
    def fov(self) -> ViewScores:
        """The scores within the field of view at the threshold 0.5."""
        return self.network.fov

    def systems(self) -> dict[str, SystemScores]:
        """Everything that was scored, by the row titles of the tables.

        Example:
            >>> from torchattn_blocks.retina import evaluate, synthesize
            >>> fundus = synthesize(0, height=64, width=64)
            >>> list(evaluate([fundus], [fundus.label * 0.8 + 0.1]).systems())
            ['network at .5', 'second observer']
        """
        systems = {f"network at {_short(self.threshold)}": self.network}
        if self.chosen is not None:
            systems[f"network at the chosen {_short(self.chosen.threshold)}"] = self.chosen
        if self.second_observer is not None:
            systems["second observer"] = self.second_observer
        return systems

    def tables(self) -> str:
        """Format the scores as Markdown tables, with rows for the network and the second observer.

        Returns:
            Four tables with headings: whole images and field of view, each pooled and per image.
            The tables per image have a row of means, and below it a row of sample standard
            deviations.

        Example:
            >>> from torchattn_blocks.retina import evaluate, synthesize
            >>> fundus = synthesize(0, height=64, width=64)
            >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
            >>> for line in evaluation.tables().splitlines()[2:6]:
            ...     print(line)
            |                 |    SEN |    SPE |     F1 |    ACC |    AUC |     AP |    MCC |
            |-----------------|-------:|-------:|-------:|-------:|-------:|-------:|-------:|
            | network at .5   | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 |
            | second observer |  .9415 |  .9982 |  .9499 |  .9958 |      – |      – |  .9477 |
        """
        tables = []
        for view, where in VIEWS.items():
            pooled, each = {}, {}
            for title, system in self.systems().items():
                statistics = system.views()[view].statistics()
                pooled[title] = statistics["pooled"]
                each[title], each[f"± of {title}"] = statistics["mean"], statistics["std"]
            tables += [
                f"### {where}, all pixels pooled\n\n{markdown_table(pooled)}",
                f"### {where}, mean and standard deviation over images\n\n{markdown_table(each)}",
            ]
        return "\n\n".join(tables)

    def rows(self) -> list[dict[str, Any]]:
        """Format the scores as rows, for a CSV file or a data frame.

        Returns:
            A dictionary for each view (``"whole"`` or ``"fov"``), system (network at a threshold,
            or second observer) and statistic (``"pooled"``, ``"mean"`` or ``"std"`` over images),
            with these three and the scores. Undefined scores are None.

        Example:
            >>> from torchattn_blocks.retina import evaluate, synthesize
            >>> fundus = synthesize(0, height=64, width=64)
            >>> rows = evaluate([fundus], [fundus.label * 0.8 + 0.1]).rows()
            >>> rows[0]["view"], rows[0]["system"], rows[0]["statistic"], rows[0]["F1"]
            ('whole', 'network at .5', 'pooled', 1.0)
        """
        return [*self._rows()]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for view in VIEWS:
            for title, system in self.systems().items():
                scored = system.views()[view]
                for statistic, scores in scored.statistics().items():
                    row = {"view": view, "system": title, "statistic": statistic}
                    yield row | {name: _defined(scores.get(name)) for name in scored.per_image}

    def save(self, path: str | Path) -> None:
        """Write the scores to a JSON file, with six significant digits and ``null`` for NaN.

        Args:
            path: The file. It appears only when it is complete, so an interrupted call never leaves
                half a file.

        Raises:
            OSError: If the file cannot be written.
            TypeError: If JSON cannot hold a value of `about`.
            ValueError: If a number is infinite.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from torchattn_blocks.retina import Evaluation, evaluate, synthesize
            >>> fundus = synthesize(0, height=64, width=64)
            >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     evaluation.save(Path(folder, "report.json"))
            ...     again = Evaluation.load(Path(folder, "report.json"))
            >>> again.fov.pooled["F1"]
            1.0
        """
        write_json(Path(path), self.as_data())

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Read a file that `save` or the command ``evaluate`` wrote.

        Args:
            path: The file.

        Raises:
            OSError: If the file does not exist or cannot be read.
            ValueError: If it is not a report; the message names the file.
        """
        content = Path(path).read_bytes()
        try:
            return cls.from_data(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not the report of an evaluation. {error}") from error

    def as_data(self) -> dict[str, Any]:
        """Everything as dictionaries and lists, as it stands in the report file.

        Returns:
            The entries of `about`, and then ``"images"``, ``"threshold"``, ``"whole"`` and
            ``"fov"``, and perhaps ``"chosen"`` (with its own ``"threshold"``) and
            ``"second_observer"``. Undefined scores are NaN.
        """
        data = {**self.about, "images": [*self.images], "threshold": self.threshold}
        data |= self.network.as_data()
        if self.chosen is not None:
            data["chosen"] = {"threshold": self.chosen.threshold, **self.chosen.as_data()}
        if self.second_observer is not None:
            data["second_observer"] = self.second_observer.as_data()
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Evaluation":
        """The scores that `as_data` returned, or that stand in a report file.

        Args:
            data: The dictionary. Undefined scores may be None.

        Raises:
            ValueError: If it lacks a part, or a part is not as `as_data` makes it.
        """
        try:
            check_kind("Evaluation", list, tuple, images=data["images"])
            chosen, second = data.get("chosen"), data.get("second_observer")
            return cls(
                tuple(data["images"]),
                SystemScores.from_data(data["threshold"], data),
                None if chosen is None else SystemScores.from_data(chosen["threshold"], chosen),
                None if second is None else SystemScores.from_data(data["threshold"], second),
                {name: value for name, value in data.items() if name not in _PARTS},
            )
        except KeyError as error:
            raise ValueError(f"Evaluation: data must hold {error}") from error
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"Evaluation: data must be as of as_data ({error})") from error


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON with six significant digits."""
    text = json.dumps(_plain(data), indent=2, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def _plain(value: Any) -> Any:
    """The value in a form that strict JSON can hold."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}")
    return value


def _score(score: Any) -> float:
    """A score that may come from a file, where NaN is null."""
    if score is not None and not is_number(score):
        raise TypeError(f"a score must be a number, got {score!r}")
    return math.nan if score is None else float(score)


def _defined(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else score


def _short(threshold: float) -> str:
    return f"{threshold:g}".replace("0.", ".")
