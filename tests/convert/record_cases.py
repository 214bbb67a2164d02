"""Record what the layers of the installed libraries compute, for `test_recorded.py`.

Run it in each environment that has some of the libraries; it replaces their cases and keeps the
others'. `--table` writes nothing, and prints how far our layers are from theirs.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from peer_layers import CASES, Case, filled, image, output_and_gradient, parameters
from safetensors import safe_open
from safetensors.torch import load_file, save_file

FILE = Path(__file__).with_name("cases.safetensors")
LIBRARIES = sorted({case.library for case in CASES} - {"torch"})  # the rest needs no record


def installed(library: str) -> str:
    """The version of a library, or nothing."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def record(case: Case) -> dict[str, torch.Tensor]:
    """Weights, input, output and gradient of a case, by key."""
    layer, x = filled(case), image(case)
    y, gradient = output_and_gradient(layer, x)
    count = torch.tensor(parameters(layer))
    state = {f"state/{key}": value.contiguous() for key, value in layer.state_dict().items()}
    recorded = {"x": x, "y": y, "gradient": gradient, "parameters": count, **state}
    return {f"{case.name}/{key}": value for key, value in recorded.items()}


def main() -> None:
    """Record, and merge."""
    tensors, versions = {}, {}
    if FILE.exists():
        tensors = load_file(FILE)
        with safe_open(FILE, "pt") as file:
            versions = file.metadata()
    recorded = {case.name: case for case in CASES if case.library in LIBRARIES}
    here = {library: installed(library) for library in LIBRARIES}
    tensors = {
        key: value
        for key, value in tensors.items()
        if (case := recorded.get(key.split("/")[0])) and not here[case.library]
    }
    for case in recorded.values():
        if here[case.library]:
            tensors |= record(case)
    known = {name: number for name, number in here.items() if number}
    save_file(dict(sorted(tensors.items())), FILE, dict(sorted((versions | known).items())))
    FILE.chmod(0o644)
    print(f"{len(tensors)} tensors, {FILE.stat().st_size / 1000:.0f} kB, {versions | known}")


def table() -> None:
    """Print how far the outputs of ours are from theirs."""
    print("| function | layer | parameters, theirs | ours | difference, float32 | float64 |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        if not installed(case.library):
            continue
        theirs = filled(case)
        ours = case.convert(theirs.state_dict()).eval()
        counts = f"{parameters(theirs)} | {parameters(ours)}"
        differences = []
        for dtype in (torch.float32, torch.float64):
            x = image(case).to(dtype)
            a, b = (layer.to(dtype)(x).detach() for layer in (theirs, ours))
            differences.append(f"{(a - b).abs().max().item():.1e}")
        print(f"| `{case.function}` | {case.name} | {counts} | {' | '.join(differences)} |")


if __name__ == "__main__":
    table() if "--table" in sys.argv else main()
