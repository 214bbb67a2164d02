"""Record the public names, of which none may be lost: python tests/record_public_names.py."""

import importlib
import json
from pathlib import Path

FILE = Path(__file__).with_name("public_names.json")


def main() -> None:
    """Write the names of each recorded package anew."""
    packages = json.loads(FILE.read_text())
    names = {package: sorted(importlib.import_module(package).__all__) for package in packages}
    FILE.write_text(json.dumps(names, indent=2) + "\n")


if __name__ == "__main__":
    main()
