"""The option --config: the settings of another training."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from ..network import Network
from ..training.recipe import Recipe


class Config(NamedTuple):
    """The settings in the record of a training.

    Attributes:
        recipe: The recipe.
        network: The network.
        pretrained: The weights that it started from, if any.
        freeze: Which parts of these weights were not trained.
        sha256: The fingerprint of the weights that it started from.
        path: The file.
    """

    recipe: Recipe
    network: Network
    pretrained: str | None
    freeze: tuple[str, ...]
    sha256: str | None
    path: Path

    def check_same(self, source: Mapping[str, Any]) -> None:
        """Raise `ValueError` if the weights to start from have changed since the record."""
        if source["sha256"] != self.sha256:
            raise ValueError(
                f"--config {self.path}: {self.pretrained} holds other weights than those that this "
                "training started from. Pass --pretrained to start from what it holds now."
            )


def read_config(path: Path) -> Config:
    """Read the record of a training, ``run.json``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a training record.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--config {path}: this file does not exist")
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Network)}
        network = {name: value for name, value in record["model"].items() if name in known}
        before = record.get("pretrained", {})
        # How long a soft skeleton must be depends on the images.
        recipe = {**record["recipe"], "cl_dice_iterations": None}
        return Config(
            Recipe.from_data(recipe),
            Network.from_data(network),
            before.get("weights"),
            tuple(before.get("freeze", ())),
            before.get("sha256"),
            path,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"--config {path}: must be the run.json of a training by this version ({error!r})"
        ) from error
