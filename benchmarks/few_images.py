"""What training on five images of a camera gives, from trained weights and from nothing.

    python benchmarks/few_images.py path/to/CHASE_DB1 --out docs/few_images.md

Five images of CHASE_DB1 are trained on for 60 steps by the recipe `crops`, validated on its two
validation images and scored on its test images, each by the commands `train` and `evaluate`. Takes
about six minutes on one core (set OMP_NUM_THREADS=1).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torchattn_blocks.retina import CHASE_DB1_PROTOCOL, list_chase_db1, markdown_table
from torchattn_blocks.retina.write import write_whole

_NAMES = ("01L", "02R", "03L", "04R", "05L")  # of five patients
_STEPS = 60
_TUNED = ["--pretrained", "drive", "--learning-rate", "1e-3"]
_TRAININGS = {
    "`drive`, fine-tuned": _TUNED,
    "`drive`, fine-tuned, `--freeze encoders bottleneck`": [
        *(*_TUNED, "--freeze", "encoders", "bottleneck")
    ],
    "from nothing": ["--fov-diameter", "535"],
}


def run(command: str, *arguments: object) -> None:
    """Run a command of the library as its users do."""
    words = [sys.executable, "-m", "torchattn_blocks.retina", command, *map(str, arguments)]
    print(" ".join(words[2:]), flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def link_images(source: Path, folder: Path) -> None:
    """Make a folder of links to the images, as `--dataset folder` takes them."""
    split = CHASE_DB1_PROTOCOL.split(list_chase_db1(source))
    few = [files for files in split.training if files.name in _NAMES]
    for part, members in (
        ("training", few),
        ("validation", split.validation),
        ("test", split.test),
    ):
        for files in members:
            kinds = {"images": files.image, "labels": files.label, "masks": files.fov}
            for kind, path in kinds.items():
                if path is not None:
                    link = folder / part / kind / f"{files.name}{path.suffix}"
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(path.resolve())


def scores(data: list[object], weights: object, out: Path) -> dict[str, float]:
    """What weights score in the field of view of the test images."""
    how = ["--no-pictures", "--part", "test"]
    run("evaluate", *data, "--weights", weights, *how, "--out", out)
    view = json.loads((out / "report.json").read_text())["fov"]
    names = ("SEN", "SPE", "F1", "AUC", "AP")
    return {n: view["pooled"][n] for n in names} | {"clDice": view["per_image"]["clDice"]["mean"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chase_db1", type=Path, help="folder of CHASE_DB1")
    parser.add_argument("--out", type=Path, help="file to write the table to")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link_images(args.chase_db1, folder / "data")
        data: list[object] = ["--data", folder / "data", "--dataset", "folder"]
        rows = {"`drive`, as it is": scores(data, "drive", folder / "drive")}
        for number, (title, options) in enumerate(_TRAININGS.items()):
            out = folder / f"run-{number}"
            steps = ["--steps", _STEPS, "--validate-every", _STEPS]
            run("train", *data, "--recipe", "crops", *steps, *options, "--out", out)
            rows[title] = scores(data, out / "last.safetensors", out / "scores")
    table = markdown_table(rows)
    print(table)
    if args.out:
        write_whole(args.out, f"{table}\n".encode())
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
