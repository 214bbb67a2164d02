"""The report of an evaluation: scores by each of the protocols that papers use."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..._check import check_numbers, plain
from ..fundus import Fundus
from .scores import Arrays, image_scores, pooled_scores
from .tables import markdown_table

_THRESHOLD = 0.5  # as in most papers
_VIEWS = {"whole": "Whole images", "fov": "Within the field of view"}


def evaluate(
    images: Sequence[Fundus],
    probabilities: Arrays,
    *,
    chosen_threshold: float | None = None,
) -> dict[str, Any]:
    """Score probability maps on whole images and within the field of view, pooled and per image.

    Args:
        images: Images with labels.
        probabilities: A probability map for each image, values between 0 and 1.
        chosen_threshold: A second threshold beside 0.5, chosen on other images by
            :func:`best_threshold`.

    Returns:
        A dictionary for :func:`save_report` and :func:`evaluation_tables`:

        - ``"images"``: their names.
        - ``"threshold"``: 0.5.
        - ``"whole"`` and ``"fov"``: scores at 0.5 on whole images and within the field of view,
          each with ``"pooled"`` (`pooled_scores`) and ``"per_image"`` (`image_scores`).
        - ``"chosen"``, with `chosen_threshold`: this ``"threshold"``, and ``"whole"`` and ``"fov"``
          at it.
        - ``"second_observer"``, if all images have one: ``"whole"`` and ``"fov"`` of the second
          observer's vessel masks.

    Raises:
        TypeError: If a label, a field of view or a second observer's mask is not of type bool, or
            `chosen_threshold` is no number.
        ValueError: If there are no images, an image has no label, a probability map is missing or
            has another shape than its image, or a probability or `chosen_threshold` lies outside
            [0, 1].

    Example:
        >>> from torchattn_blocks.retina import synthesize
        >>> from torchattn_blocks.retina import evaluate
        >>> fundus = synthesize(0, height=64, width=64)
        >>> report = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> report["threshold"], report["fov"]["pooled"]["F1"]
        (0.5, 1.0)
    """
    if bare := [fundus.name for fundus in images if fundus.label is None]:
        raise ValueError(f"evaluate: every image must have a label; missing: {', '.join(bare)}")
    if chosen_threshold is not None:
        check_numbers("evaluate", 0, 1, chosen_threshold=chosen_threshold)
        chosen_threshold = plain(chosen_threshold)
    labels = [fundus.label for fundus in images if fundus.label is not None]
    seconds = [fundus.second_label for fundus in images if fundus.second_label is not None]
    fovs = [fundus.fov for fundus in images]

    def views(scored: Arrays, threshold: float) -> dict[str, Any]:
        return {
            view: {
                "pooled": pooled_scores(scored, labels, threshold=threshold, masks=masks),
                "per_image": image_scores(scored, labels, threshold=threshold, masks=masks),
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
    """Format a report as Markdown tables, with rows for the network and the second observer.

    Args:
        report: The result of :func:`evaluate`, or the content of a file by :func:`save_report`.

    Returns:
        Four tables with headings: whole images and field of view, each pooled and per image. The
        tables per image have a row of means and below it a row of sample standard deviations.

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
    tables = []
    for view, where in _VIEWS.items():
        pooled, each = {}, {}
        for title, system in _systems(report).items():
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


def evaluation_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Format a report as rows, for a CSV file or a data frame.

    Args:
        report: The result of :func:`evaluate`, or the content of a file by :func:`save_report`.

    Returns:
        A dictionary for each view (``"whole"`` or ``"fov"``), system (network at a threshold, or
        second observer) and statistic (``"pooled"``, ``"mean"`` or ``"std"`` over images), with
        these three and the scores. Undefined scores are None.

    Example:
        >>> from torchattn_blocks.retina import evaluate, evaluation_rows, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> rows = evaluation_rows(evaluate([fundus], [fundus.label * 0.8 + 0.1]))
        >>> rows[0]["view"], rows[0]["system"], rows[0]["statistic"], rows[0]["F1"]
        ('whole', 'network at .5', 'pooled', 1.0)
    """
    rows = []
    for view in _VIEWS:
        for title, system in _systems(report).items():
            each = system[view]["per_image"]
            statistics = {"pooled": system[view]["pooled"]} | {
                statistic: {name: score[statistic] for name, score in each.items()}
                for statistic in ("mean", "std")
            }
            rows += [
                {"view": view, "system": title, "statistic": statistic}
                | {name: _defined(scores.get(name)) for name in each}
                for statistic, scores in statistics.items()
            ]
    return rows


def _systems(report: dict[str, Any]) -> dict[str, Any]:
    """What a report has scores of, by title."""
    systems = {f"network at {_short(report['threshold'])}": report}
    if "chosen" in report:
        chosen = report["chosen"]
        systems[f"network at the chosen {_short(chosen['threshold'])}"] = chosen
    if "second_observer" in report:
        systems["second observer"] = report["second_observer"]
    return systems


def _defined(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else score


def save_report(path: str | Path, report: dict[str, Any]) -> None:
    """Write a report to a JSON file, with six significant digits and ``null`` for NaN.

    Args:
        path: The file. It appears when it is complete, so an interrupted call never leaves half a
            file.
        report: The result of :func:`evaluate`, or any dictionary that JSON can hold.

    Raises:
        TypeError: If JSON cannot hold a value.
        ValueError: If a number is infinite.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
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
    """The value as strict JSON can hold it."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}")
    return value


def as_numbers(scores: dict[str, float | None]) -> dict[str, float]:
    """Scores that may come from a file, where NaN is null."""
    return {name: math.nan if score is None else score for name, score in scores.items()}


def _short(threshold: float) -> str:
    return f"{threshold:g}".replace("0.", ".")
