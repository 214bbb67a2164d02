"""Print versions and machine, for a bug report: ``python -m torchattn_blocks.env``."""

import re
from importlib.metadata import PackageNotFoundError, requires, version

from . import __version__

PACKAGE = "torchattn_blocks"
WEIGHTS = "torchattn-retina-weights"


def versions() -> dict[str, str]:
    """The versions of this package and of all that it and its extras for users require."""
    try:
        needed = requires(PACKAGE) or []
    except PackageNotFoundError:  # it runs from a folder on the path
        return {PACKAGE: f"{__version__}, not installed"}
    for_users = [
        line for line in needed if not re.search(r"extra == .(test|docs|bench|dev)\b", line)
    ]
    names = {re.split(r"[\s<>=!~;@\[]", line, maxsplit=1)[0]: None for line in for_users}
    return {PACKAGE: __version__, **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Print the versions, and what torch says of the machine."""
    for name, found in versions().items():
        print(f"{name}: {found}")
    print()
    from torch.utils.collect_env import get_pretty_env_info

    print(get_pretty_env_info())  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
