"""The extras, and where `[retina]` takes its weights from.

In a clone, the weights are the folder `weights` beside this file: `pip install ".[retina]"` needs
no index that has them. The sdist leaves the folder out. So the sdist, and a wheel built from it,
require the distribution by name and version.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NAME = "torchattn-retina-weights"
PUBLISHED = f"{NAME}>=1,<2"


class Extras(MetadataHookInterface):
    """Take the extras from pyproject.toml and add the weights to `retina`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``optional-dependencies``."""
        folder = Path(self.root, "weights")
        beside = (folder / "pyproject.toml").is_file()
        weights = f"{NAME} @ {folder.as_uri()}" if beside else PUBLISHED
        extras = self.config["optional-dependencies"]
        metadata["optional-dependencies"] = {**extras, "retina": [*extras["retina"], weights]}


class NoPathInSdist(BuildHookInterface):
    """Let the sdist's PKG-INFO, which its wheels repeat, name no folder of this machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Change the metadata that hatchling is about to write."""
        for needed in self.metadata.core.optional_dependencies.values():
            needed[:] = [PUBLISHED if one.startswith(NAME) else one for one in needed]
