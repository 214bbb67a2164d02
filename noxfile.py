"""All tests, each session in an environment of its own: ``nox``. ``nox --list`` names them.

pip takes torch from PyPI, gigabytes on Linux. For its builds for CPUs, set the environment variable
``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu``.
"""

import re
from pathlib import Path

import nox

CONSTRAINTS = Path("constraints.txt")
PINNED = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)[1]
# The oldest torch that pyproject.toml allows, one between, and the one of constraints.txt.
TORCH = ["2.8.0", "2.10.0", PINNED]

nox.options.default_venv_backend = "venv"


@nox.session
@nox.parametrize("torch", TORCH)
def tests(session: nox.Session, torch: str) -> None:
    """The tests with one version of torch; arguments after ``--`` go to pytest."""
    install(session, "-e", ".[test]", torch=torch)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take minutes each."""
    install(session, "-e", ".[test]", "torchao")
    session.run("python", "-m", "pytest", "-m", "slow", "--ignore=tests/tools", *session.posargs)


@nox.session
def tools(session: nox.Session) -> None:
    """What other people's tools make of our layers."""
    install(session, "-e", ".[test]", "-r", "tests/tools/tools.txt")
    session.run("python", "-m", "pytest", "-m", "slow", "-n", "0", "tests/tools", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Layers and networks beside those of other libraries, and the kernel for CUDA."""
    install(session, "-e", ".[test]", "-r", "benchmarks/peers.txt", "-r", "benchmarks/kernel.txt")
    session.env["PYTHONPATH"] = "."
    paths = ["tests/convert", "tests/models/test_encoder_installed.py", "tests/hosts"]
    paths += ["tests/layers/test_paint_triton.py"]
    session.run("python", "-m", "pytest", "-n", "0", *paths, *session.posargs)


def install(session: nox.Session, *packages: str, torch: str = PINNED) -> None:
    """Install packages in the versions of constraints.txt, but for torch and what comes with it."""
    lines = CONSTRAINTS.read_text().splitlines()
    if torch != PINNED:
        lines = [line for line in lines if not line.startswith(("torch==", "torchao=="))]
        lines += [f"torch=={torch}"]
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join(lines) + "\n")
    session.install("-c", str(constraints), *packages)
