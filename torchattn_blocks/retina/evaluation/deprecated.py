"""Functions of reports from before there was `Evaluation`."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report import Evaluation, write_json


def evaluation_tables(report: Mapping[str, Any]) -> str:
    """Deprecated: call ``tables()`` of the `Evaluation` that `evaluate` returns.

    Args:
        report: The result of `evaluate`, or the content of a report file.

    Example:
        >>> from torchattn_blocks.retina import evaluate, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> tables = evaluation.tables()  # in place of evaluation_tables(evaluation)
    """
    _warn("evaluation_tables", "tables()")
    return _evaluation(report).tables()


def evaluation_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Deprecated: call ``rows()`` of the `Evaluation` that `evaluate` returns.

    Args:
        report: The result of `evaluate`, or the content of a report file.

    Example:
        >>> from torchattn_blocks.retina import evaluate, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> rows = evaluation.rows()  # in place of evaluation_rows(evaluation)
    """
    _warn("evaluation_rows", "rows()")
    return _evaluation(report).rows()


def save_report(path: str | Path, report: Mapping[str, Any]) -> None:
    """Deprecated: call ``save(path)`` of the `Evaluation` that `evaluate` returns.

    Args:
        path: The file.
        report: The result of `evaluate`, or any dictionary that JSON can hold.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torchattn_blocks.retina import evaluate, synthesize
        >>> fundus = synthesize(0, height=64, width=64)
        >>> evaluation = evaluate([fundus], [fundus.label * 0.8 + 0.1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "report.json")
        ...     evaluation.save(path)
        >>> # in place of save_report(path, evaluation)
    """
    _warn("save_report", "save(path)")
    write_json(Path(path), report.as_data() if isinstance(report, Evaluation) else report)


def _evaluation(report: Mapping[str, Any]) -> Evaluation:
    if isinstance(report, Evaluation):
        return report
    return Evaluation.from_data({"images": [], **report})  # their names were not needed


def _warn(name: str, instead: str) -> None:
    said = f"{name} is deprecated: call {instead} of the Evaluation that evaluate returns"
    warnings.warn(said, DeprecationWarning, stacklevel=3)
