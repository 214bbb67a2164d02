"""Scores of vessel maps against an observer's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc, binary_stat_scores

NAMES = ("SEN", "SPE", "F1", "ACC", "AUC")


def pooled_scores(
    probabilities: Sequence[NDArray[np.floating]],
    labels: Sequence[NDArray[np.bool_]],
    *,
    threshold: float = 0.5,
) -> dict[str, float]:
    """Score all pixels of all photographs together, as the paper does.

    Args:
        probabilities: A map for each photograph, values between 0 and 1. A second observer's zeros
            and ones are scored likewise.
        labels: What is true, a map for each photograph of the same shape.
        threshold: A pixel above it is taken for vessel.

    Returns:
        Sensitivity ``SEN``, specificity ``SPE``, ``F1`` (Dice), accuracy ``ACC`` and ``AUC``, the
        exact area under the ROC curve. A score that the labels leave undefined (sensitivity
        without any vessel, say) is NaN, and so is the AUC of a map of zeros and ones, which has no
        curve.

    Raises:
        ValueError: If there are no photographs, or shapes differ.

    Note:
        Torchmetrics reports 0 where a score is undefined, and an area for zeros and ones.

    Example:
        >>> probability = np.array([[0.9, 0.6], [0.4, 0.1]])
        >>> pooled_scores([probability], [np.array([[True, False], [True, False]])])
        {'SEN': 0.5, 'SPE': 0.5, 'F1': 0.5, 'ACC': 0.5, 'AUC': 0.75}
    """
    if len(probabilities) != len(labels) or not labels:
        raise ValueError(
            f"pooled_scores: there must be a label for each map and one at least, got "
            f"{len(probabilities)} maps and {len(labels)} labels"
        )
    for i, (probability, label) in enumerate(zip(probabilities, labels, strict=True)):
        if probability.shape != label.shape:
            raise ValueError(
                f"pooled_scores: map {i} has shape {probability.shape}, its label {label.shape}"
            )
    score, truth = _flat(probabilities), _flat(labels)
    tp, fp, tn, fn, _ = binary_stat_scores(score > threshold, truth).tolist()
    is_curve = bool(((score > 0) & (score < 1)).any())
    one_kind = tp + fn == 0 or tn + fp == 0
    return {
        "SEN": _ratio(tp, tp + fn),
        "SPE": _ratio(tn, tn + fp),
        "F1": _ratio(2 * tp, 2 * tp + fp + fn),
        "ACC": _ratio(tp + tn, tp + fp + tn + fn),
        "AUC": float(binary_auroc(score, truth)) if is_curve and not one_kind else np.nan,
    }


def _flat(maps: Sequence[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([values.ravel() for values in maps]))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def markdown_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay scores out as a Markdown table, a row for each entry; what is undefined is a dash.

    Example:
        >>> print(markdown_table({"RSAN": {"F1": 0.82221, "AUC": float("nan")}}))
        |      |    F1 | AUC |
        |------|------:|----:|
        | RSAN | .8222 |   – |
    """
    names = list(next(iter(rows.values())))
    cells = [["", *names]]
    for title, row in rows.items():
        cells.append(
            [title, *("–" if np.isnan(v) else f"{v:.4f}".lstrip("0") for v in row.values())]
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(names) + 1)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in cells
    ]
    rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (w + 1)}:|" for w in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])
