"""The command line: ``python -m torchattn_blocks.retina train | evaluate | segment | ...``."""

import os
import sys
from collections.abc import Callable

import tyro

from .commands.evaluate import Evaluate
from .commands.segment import Segment
from .commands.study import Study
from .commands.synthesize import Synthesize
from .commands.train import Train

COMMANDS: dict[str, Callable[..., Callable[[], None]]] = {
    "train": Train,
    "evaluate": Evaluate,
    "segment": Segment,
    "synthesize": Synthesize,
    "study": Study,
}


def main() -> None:
    """Run the command that the arguments name."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="python -m torchattn_blocks.retina",
        description="Retinal vessel segmentation. For research; not for diagnosis.",
    )
    if isinstance(command, Train):
        _let_threads_sleep()
    try:
        command()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


def _let_threads_sleep() -> None:
    """Start anew with threads that, waiting for work, leave the cores to other programs.

    On a machine that is not idle, training is several times faster for it. OpenMP reads the setting
    when torch is loaded, which was before the first line of this file.
    """
    if os.name == "posix" and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
