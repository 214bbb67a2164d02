"""What pyproject.toml cannot say: where `[retina]` takes its weights from, and PyPI's README.

In a clone, the weights are the folder `weights` beside this file: `pip install ".[retina]"` needs
no index that has them. The sdist leaves the folder out. So the sdist, and a wheel built from it,
require the distribution by name and version.

The README links to files of the repository, which PyPI does not have. If pyproject.toml names the
address of the repository, the links on PyPI lead there.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NAME = "torchattn-retina-weights"
PUBLISHED = f"{NAME}>=1,<2"


class ExtrasAndReadme(MetadataHookInterface):
    """Take the extras from pyproject.toml and add the weights to `retina`; read the README."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``optional-dependencies`` and ``readme``."""
        folder = Path(self.root, "weights")
        beside = (folder / "pyproject.toml").is_file()
        weights = f"{NAME} @ {folder.as_uri()}" if beside else PUBLISHED
        extras = self.config["optional-dependencies"]
        metadata["optional-dependencies"] = {**extras, "retina": [*extras["retina"], weights]}
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if repository := metadata["urls"].get("Repository"):
            text = with_addresses(text, repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_addresses(readme: str, repository: str) -> str:
    """The README with the repository's address before each link to a file, and each picture."""
    address = repository.rstrip("/")
    readme = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{address}/raw/HEAD/", readme)
    return re.sub(r"((?<!\!)\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{address}/blob/HEAD/", readme)


class NoPathInSdist(BuildHookInterface):
    """Let the sdist's PKG-INFO, which its wheels repeat, name no folder of this machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Change the metadata that hatchling is about to write."""
        for needed in self.metadata.core.optional_dependencies.values():
            needed[:] = [PUBLISHED if one.startswith(NAME) else one for one in needed]
