"""What the two reports share: their options, a run of a test file, the rows in its JSON."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import libraries
from tables import environment

HERE = Path(__file__).parent


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="*", type=Path, help="JSON of pytest-benchmark; of parts, if several"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plot")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="where to measure, for example cuda")
    parser.add_argument("--partial", action="store_true", help="go on though libraries are missing")
    return parser


def refuse_without(contenders: Sequence[libraries.Contender], args: argparse.Namespace) -> None:
    """Stop before a run that would leave libraries out, unless that is wanted."""
    missing = libraries.missing(contenders)
    if not args.results and missing and not args.partial:
        sys.exit("\n".join([*missing, "Install benchmarks/peers.txt, or add --partial."]))


def run(tests: str, path: Path, args: argparse.Namespace, chosen: str = "") -> Path:
    """Measure now, with the tests that pytest's ``-k`` has `chosen`, and write JSON to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"{path.stem} ...", flush=True)
    suite = [sys.executable, "-m", "pytest", "-c", HERE / "pytest.ini", HERE / tests, "-v"]
    suite += ["--threads", str(args.threads), "--device", args.device]
    subprocess.run([*suite, "-k", chosen, f"--benchmark-json={path}"], check=True)
    return path


def read(paths: Sequence[Path]) -> dict:
    """The results in these files, which must be of one machine and day."""
    results, *others = (json.loads(path.read_text()) for path in paths)
    for other in others:
        if environment(other) != environment(results):
            sys.exit("These results are not of the same machine, versions, threads and day.")
        for part in ("benchmarks", "failures"):
            results[part] += other[part]
    return results


def rows_of(results: dict) -> list[dict]:
    return [benchmark["extra_info"] for benchmark in results["benchmarks"]]


def save(path: Path, results: dict, **more: object) -> None:
    """What the tables were made of, without the machine's details that nobody needs."""
    slim = {"environment": environment(results), "rows": rows_of(results), **more}
    path.write_text(json.dumps(slim, indent=1) + "\n")
