"""Grids of trainings, from files."""

import io
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import tyro

from ..commands.train import Train
from ..names import ModelName, RecipeName
from .run import Run

# The data sets whose folders the command `study` takes.
DATASETS = ("drive", "chase_db1", "stare", "hrf", "folder")
_SHIPPED = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
_DEFAULTS = {"model": ["rsan"], "recipe": ["paper"], "options": [{}], "seed": [0]}
_LISTED = [name for name in Run._fields if name != "trained_on"]
_LEFT_OUT = "leave_one_out"
_NAMES = {"dataset": DATASETS, "model": get_args(ModelName), "recipe": get_args(RecipeName)}
# Options of `train` that only a study may set.
_OWN = {"data", "dataset", "model", "recipe", "seed", "out", "resume", "max-time", "config"}
_OPTIONS = {field.name.replace("_", "-") for field in fields(Train)} - _OWN


class Grid(NamedTuple):
    """The runs of a study.

    Attributes:
        title: Title of the study.
        about: What it is for.
        runs: The runs, in the order of the file.
    """

    title: str
    about: str
    runs: list[Run]


def read_grid(name: str) -> Grid:
    """Read a grid from a file.

    Args:
        name: Path of a TOML file, or name of a shipped grid.

    Returns:
        The grid, with each run once.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a shipped grid.
        ValueError: If the file does not have the form of a grid.

    Example:
        >>> from torchattn_blocks.retina.studies.grid import read_grid
        >>> len(read_grid("paper_tables").runs)  # 2 data sets, 4 models, 3 seeds
        24
    """
    path = Path(name)
    if not path.is_file():
        path = _SHIPPED.get(name, path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{name}: no such grid; it must be a TOML file or one of {', '.join(_SHIPPED)}"
        )
    try:
        with path.open("rb") as file:
            return _grid(tomllib.load(file), path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _grid(content: Mapping[str, Any], stem: str) -> Grid:
    _check_known(content, {"title", "about", "grid"})
    title, about = content.get("title", stem), content.get("about", "")
    for name, text in (("title", title), ("about", about)):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be text, got {text!r}")
    tables = content.get("grid", [])
    if not (isinstance(tables, list) and tables and all(isinstance(t, dict) for t in tables)):
        raise ValueError("there must be at least one table [[grid]]")
    runs: list[Run] = []
    for number, table in enumerate(tables, 1):
        try:
            runs += _runs(table)
        except ValueError as error:
            raise ValueError(f"grid {number}: {error}") from error
    once = {run.folder(Path()): run for run in runs}
    return Grid(title, about, list(once.values()))


def _runs(table: Mapping[str, Any]) -> Iterator[Run]:
    """All combinations of the entries of a table."""
    _check_known(table, {*_LISTED, _LEFT_OUT})
    if _LEFT_OUT in table:
        if "dataset" in table:
            raise ValueError(f"there must be either dataset or {_LEFT_OUT}")
        names = table[_LEFT_OUT]
        if not (isinstance(names, list) and len(names) > 1 and len({*map(str, names)}) > 1):
            raise ValueError(f"{_LEFT_OUT} must be a list of at least 2 data sets, got {names!r}")
        table = {**table, "dataset": names}
    lists = []
    for name in _LISTED:
        entries = table.get(name, _DEFAULTS.get(name))
        if not (isinstance(entries, list) and entries):
            got = "nothing" if entries is None else repr(entries)
            raise ValueError(f"{name} must be a list with at least 1 entry, got {got}")
        lists.append([_entry(name, entry) for entry in entries])
    for run in (Run(*combination) for combination in product(*lists)):
        yield _leaving_out(run, table["dataset"]) if _LEFT_OUT in table else run


def _leaving_out(run: Run, datasets: Sequence[str]) -> Run:
    """The run that is trained on all other data sets."""
    for name in ("fold", "pretrained"):  # the weights may have seen the left-out set
        if name in dict(run.options):
            raise ValueError(f"options: {name} is not possible with {_LEFT_OUT}")
    others = [name for name in dict.fromkeys(datasets) if name != run.dataset]
    return run._replace(trained_on=tuple(others))


def _entry(name: str, entry: Any) -> Any:
    if name == "options":
        return _options(entry)
    if name == "seed":
        if type(entry) is not int or entry < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {entry!r}")
    elif entry not in _NAMES[name]:
        raise ValueError(f"{name} must be one of {', '.join(_NAMES[name])}, got {entry!r}")
    return entry


def _options(entry: Any) -> tuple[tuple[str, Any], ...]:
    """Check a set of options."""
    if not isinstance(entry, dict):
        raise ValueError(f"options must be tables like {{p = 0.1}}, got {entry!r}")
    if own := entry.keys() & _OWN:
        raise ValueError(f"options may not hold {min(own)}: a study sets it itself")
    if unknown := entry.keys() - _OPTIONS:
        raise ValueError(
            f"options: train has no option {min(unknown)}; it has {', '.join(sorted(_OPTIONS))}"
        )
    return tuple((name, _value(name, entry[name])) for name in sorted(entry))


def _value(name: str, value: Any) -> Any:
    """Check the value of an option as the command line of `train` does."""
    parts = tuple(value) if isinstance(value, list) else (value,)
    plain = all(isinstance(part, (str, int, float)) for part in parts)
    if not plain or (name == "fold" and not re.fullmatch(r"\d+/\d+", str(value))):
        raise ValueError(f"options: train cannot take {name} = {value!r}")
    value = parts if isinstance(value, list) else value
    words = Run("drive", "rsan", "paper", ((name, value),), 0).training()
    try:
        with redirect_stderr(io.StringIO()):
            tyro.cli(Train, args=["--data", "", *words], console_outputs=False)
    except SystemExit:
        raise ValueError(f"options: train cannot take {name} = {value!r}") from None
    return value


def _check_known(table: Mapping[str, Any], known: Any) -> None:
    if unknown := [name for name in table if name not in known]:
        raise ValueError(f"unknown entry {unknown[0]}; known are {', '.join(sorted(known))}")
