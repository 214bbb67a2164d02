"""The command line: ``python -m torchattn_blocks.retina train | evaluate | segment | ...``."""

import os
import sys
from collections.abc import Callable

try:
    import tyro
except ModuleNotFoundError:
    sys.exit("The command line needs the extra [retina], in a clone: pip install '.[retina]'")

from .commands.evaluate import Evaluate
from .commands.segment import Segment
from .commands.study import Study
from .commands.synthesize import Synthesize
from .commands.train import Train

COMMANDS: dict[str, Callable[..., Callable[[], None]]] = {
    "segment": Segment,
    "evaluate": Evaluate,
    "train": Train,
    "study": Study,
    "synthesize": Synthesize,
}


def main() -> None:
    """Run the command given by the arguments."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="torchattn-retina",
        description="Retinal vessel segmentation. For research; not for diagnosis.",
    )
    # OpenMP reads this when a command loads torch. Waiting threads then leave the cores to other
    # programs: on a busy machine training is several times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        command()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
