"""The report of an evaluation: every view of the scores that comparisons between papers mix up."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..fundus import Fundus
from .scores import Maps, image_scores, pooled_scores
from .tables import markdown_table

_THRESHOLD = 0.5  # what the field's tables are made at
_VIEWS = {"whole": "Whole images", "fov": "Within the field of view"}


def evaluate(
    images: Sequence[Fundus],
    probabilities: Maps,
    *,
    chosen_threshold: float | None = None,
) -> dict[str, Any]:
    """Score vessel masks on whole images and within the field of view, pooled and one by one.

    Args:
        images: Images with labels.
        probabilities: A map for each of them, values between 0 and 1.
        chosen_threshold: A second threshold beside .5, chosen on other images
            (:func:`best_threshold`).

    Returns:
        Plain data, for :func:`save_report` and :func:`evaluation_tables`: under ``"images"``
        their names, under ``"threshold"`` .5, and under ``"whole"`` and ``"fov"`` what
        `pooled_scores` (``"pooled"``) and `image_scores` (``"per_image"``) give at that threshold.
        Where a threshold was chosen, ``"chosen"`` holds it and its own ``"whole"`` and ``"fov"``;
        where all images have a second observer's mask, ``"second_observer"`` holds its two.

    Raises:
        TypeError: If a label, a field of view or a second observer's mask is not of type bool.
        ValueError: If there are no images or one has no label, a map is missing or has another
            shape than its image, or a value or the chosen threshold lies outside [0, 1].

    Example:
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import evaluate
        >>> fundus = synthesize(0, height=64, width=64)
        >>> report = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> report["threshold"], report["fov"]["pooled"]["F1"]
        (0.5, 1.0)
    """
    if bare := [fundus.name for fundus in images if fundus.label is None]:
        raise ValueError(
            "evaluate: scores need the vessel masks of the first observer, which these "
            f"images lack: {', '.join(bare)}"
        )
    if chosen_threshold is not None and not 0 <= chosen_threshold <= 1:
        raise ValueError(f"evaluate: chosen_threshold must lie in [0, 1], got {chosen_threshold}")
    labels = [fundus.label for fundus in images if fundus.label is not None]
    seconds = [fundus.second_label for fundus in images if fundus.second_label is not None]
    fovs = [fundus.fov for fundus in images]

    def views(maps: Maps, threshold: float) -> dict[str, Any]:
        return {
            view: {
                "pooled": pooled_scores(maps, labels, threshold=threshold, masks=masks),
                "per_image": image_scores(maps, labels, threshold=threshold, masks=masks),
            }
            for view, masks in zip(_VIEWS, (None, fovs), strict=True)
        }

    report: dict[str, Any] = {
        "images": [fundus.name for fundus in images],
        "threshold": _THRESHOLD,
        **views(probabilities, _THRESHOLD),
    }
    if chosen_threshold is not None:
        report["chosen"] = {
            "threshold": chosen_threshold,
            **views(probabilities, chosen_threshold),
        }
    if len(seconds) == len(images):
        report["second_observer"] = views(seconds, _THRESHOLD)
    return report


def evaluation_tables(report: dict[str, Any]) -> str:
    """Lay a report out as Markdown: a table for each view, a row for network and second observer.

    Args:
        report: What :func:`evaluate` gave, or what was read from a file of :func:`save_report`.

    Returns:
        Four tables, each below a heading. In those of scores image by image, a row of
        means has the sample standard deviations below it.

    Example:
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import evaluate, evaluation_tables
        >>> fundus = synthesize(0, height=64, width=64)
        >>> report = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> for line in evaluation_tables(report).splitlines()[2:6]:
        ...     print(line)
        |                 |    SEN |    SPE |     F1 |    ACC |    AUC |     AP |    MCC |
        |-----------------|-------:|-------:|-------:|-------:|-------:|-------:|-------:|
        | network at .5   | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 1.0000 |
        | second observer |  .9415 |  .9982 |  .9499 |  .9958 |      – |      – |  .9477 |
    """
    systems = {f"network at {_short(report['threshold'])}": report}
    if "chosen" in report:
        chosen = report["chosen"]
        systems[f"network at the chosen {_short(chosen['threshold'])}"] = chosen
    if "second_observer" in report:
        systems["second observer"] = report["second_observer"]
    tables = []
    for view, where in _VIEWS.items():
        pooled, each = {}, {}
        for title, system in systems.items():
            pooled[title] = as_numbers(system[view]["pooled"])
            scores = system[view]["per_image"]
            each[title] = as_numbers({name: score["mean"] for name, score in scores.items()})
            each[f"± of {title}"] = as_numbers(
                {name: score["std"] for name, score in scores.items()}
            )
        tables += [
            f"### {where}, all pixels pooled\n\n{markdown_table(pooled)}",
            f"### {where}, mean and standard deviation over images\n\n{markdown_table(each)}",
        ]
    return "\n\n".join(tables)


def save_report(path: str | Path, report: dict[str, Any]) -> None:
    """Write a report as strict JSON: six significant digits, and null for what is undefined.

    Args:
        path: Where to. The file appears when it is whole: an interrupted call leaves none, or the
            one that was there.
        report: What :func:`evaluate` gave, and anything else of numbers, texts, lists and
            dictionaries.

    Raises:
        TypeError: If JSON cannot hold a value.
        ValueError: If a number is infinite.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks.retina import save_report
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "report.json")
        ...     save_report(path, {"F1": 0.82221379, "AUC": float("nan")})
        ...     print(path.read_text())
        {
          "F1": 0.822214,
          "AUC": null
        }
        <BLANKLINE>
    """
    path = Path(path)
    text = json.dumps(_plain(report), indent=2, allow_nan=False) + "\n"
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _plain(value: Any) -> Any:
    """The value as strict JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}")
    return value


def as_numbers(scores: dict[str, float | None]) -> dict[str, float]:
    """Scores that may have been read from a file, where what is undefined is null."""
    return {name: math.nan if score is None else score for name, score in scores.items()}


def _short(threshold: float) -> str:
    return f"{threshold:g}".replace("0.", ".")
