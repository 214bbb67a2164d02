"""The command line: ``python -m torchattn_blocks.retina train | evaluate | segment | ...``."""

import os
import sys
import warnings

from .. import __version__
from .._lazy import missing


def main() -> None:
    """Run the command given by the arguments."""
    # Imported here, so that Ctrl-C during the imports is caught too.
    try:
        if sys.argv[1:] == ["--version"]:
            print(f"torchattn_blocks {__version__}")
            return
        from .commands._parse import parse
        from .workers.parent import PARENT, end_with

        if parent := os.environ.pop(PARENT, ""):
            end_with(int(parent))

        command = parse(sys.argv[1:])
        # OpenMP reads this when a command loads torch. Waiting threads then leave the cores to
        # other programs: on a busy machine training is several times faster.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        command()
    except ModuleNotFoundError as error:
        if error.name == "tyro":
            error = missing("The command line", "tyro", "retina")
        elif error.name not in ("skan", "distributed"):
            raise
        sys.exit(f"error: {error}")
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
