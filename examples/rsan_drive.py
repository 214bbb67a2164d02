"""Train RSAN on fundus photographs, score it and draw what it found.

Without --data it makes synthetic photographs and trains a small network on them, in about two
minutes on two cores. With --data it trains the paper's network on DRIVE by the paper's protocol.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

# Read when torch is loaded: threads that wait for work leave the cores to other programs. On a
# machine that is not idle, training is several times faster for it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from safetensors.torch import save_model

from torchattn_blocks import rsan
from torchattn_blocks.retina import (
    DRIVE,
    Recipe,
    drive,
    markdown_table,
    pooled_scores,
    save_sheet,
    synthesize,
    train,
    vessel_probability,
)


def experiment(args: argparse.Namespace) -> tuple:
    """Photographs to train on, to validate and to test, and how: recipe, side, RSAN's arguments."""
    chosen = {"seed": args.seed}
    if args.epochs is not None:
        chosen["epochs"] = args.epochs
    if args.data is None:
        recipe, side = replace(Recipe(epochs=25, learning_rate=1e-2), **chosen), None
        photographs = [synthesize(seed, height=256, width=248) for seed in range(22)]
        parts = photographs[:16], photographs[16:18], photographs[18:]
        settings = {"widths": (8, 16, 32, 64)}
    else:
        recipe, side = replace(DRIVE.recipe, **chosen), DRIVE.side
        split = DRIVE.split(drive(args.data, "training") + drive(args.data, "test"))
        parts = ([files.read() for files in part] for part in split)
        settings = {"p": DRIVE.p}
    return *parts, recipe, side, settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of DRIVE, with training/ and test/ in it")
    parser.add_argument("--epochs", type=int, help="default: 200 on DRIVE, 25 on synthetic images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and DropBlock")
    parser.add_argument("--out", type=Path, default=Path("runs/rsan_drive"))
    parser.add_argument("--resume", action="store_true", help="go on where --out left off")
    args = parser.parse_args()
    try:
        training, validation, test, recipe, side, settings = experiment(args)
        torch.manual_seed(args.seed)
        model = rsan(**settings)
        train(model, training, validation, recipe, args.out, side=side, resume=args.resume)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    save_model(model, args.out / "weights.safetensors")

    probabilities = [vessel_probability(model, fundus.image, side) for fundus in test]
    for fundus, probability in zip(test, probabilities, strict=True):
        save_sheet(args.out / f"{fundus.name}.png", fundus, probability)
    labels = [fundus.label for fundus in test]
    if any(label is None for label in labels):
        print("No scores: this copy of DRIVE has no vessel maps of its test photographs.")
    else:
        rows = {"RSAN": pooled_scores(probabilities, labels)}
        if all(fundus.second is not None for fundus in test):
            rows["second observer"] = pooled_scores([fundus.second for fundus in test], labels)
        print(markdown_table(rows))
    print(f"Weights, log and a picture of each test photograph are in {args.out}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command with --resume goes on from the last whole epoch.")
