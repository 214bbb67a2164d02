"""The command line: ``python -m torchattn_blocks.retina train | evaluate | segment | ...``."""

import os
import sys
import warnings


def main() -> None:
    """Run the command given by the arguments."""
    # Imported here, so that Ctrl-C during the imports is caught too.
    try:
        import tyro

        from .commands import COMMANDS

        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="torchattn-retina",
            description="Retinal vessel segmentation. For research; not for diagnosis.",
        )
        # OpenMP reads this when a command loads torch. Waiting threads then leave the cores to
        # other programs: on a busy machine training is several times faster.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        command()
    except ModuleNotFoundError as error:
        if error.name != "tyro":
            raise
        sys.exit("The command line needs the extra [retina], in a clone: pip install '.[retina]'")
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
