"""The command that a command line asks for."""

from collections.abc import Callable, Sequence

import tyro

from . import COMMANDS

_PROGRAM = "torchattn-retina"


def parse(arguments: Sequence[str]) -> Callable[[], None]:
    """Read a command line. The command that it names is returned with its options, ready to call.

    Each command is parsed separately, so that for a mistyped option only this command's options are
    suggested.

    Args:
        arguments: The command line after the name of the program.

    Raises:
        SystemExit: After help (0), and after an error in the command line (2).

    Example:
        >>> from torchattn_blocks.retina.commands._parse import parse
        >>> parse(["synthesize", "3", "--out", "eyes"]).count
        3
    """
    name, *rest = arguments or [""]
    if name in COMMANDS:
        return tyro.cli(COMMANDS[name], prog=f"{_PROGRAM} {name}", args=rest)
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog=_PROGRAM,
        description="Retinal vessel segmentation. For research; not for diagnosis.\n"
        "--version prints the version.",
        args=arguments,
    )
