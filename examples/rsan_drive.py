"""Train RSAN on fundus photographs, score it and draw what it found.

Without --data it makes synthetic photographs and trains a small network on them in about two
minutes; with --data it trains the paper's network on DRIVE by the paper's protocol.
"""

import argparse
from dataclasses import replace
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of DRIVE, with training/ and test/ in it")
    parser.add_argument("--epochs", type=int, help="default: 200 on DRIVE, 20 on synthetic images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/rsan_drive"))
    parser.add_argument("--resume", action="store_true", help="go on where --out left off")
    args = parser.parse_args()

    if args.data:
        split = DRIVE.split(drive(args.data, "training") + drive(args.data, "test"))
        training, validation, test = ([files.read() for files in part] for part in split)
        recipe, side, settings = DRIVE.recipe, DRIVE.side, {"p": DRIVE.p}
    else:
        photographs = [synthesize(seed, height=292, width=282) for seed in range(20)]
        training, validation, test = photographs[:14], photographs[14:16], photographs[16:]
        recipe, side, settings = Recipe(epochs=20), None, {"widths": (8, 16, 32, 64)}
    recipe = replace(recipe, seed=args.seed, epochs=args.epochs or recipe.epochs)

    torch.manual_seed(args.seed)
    model = rsan(**settings)
    train(model, training, validation, recipe, args.out, side=side, resume=args.resume)
    save_model(model, args.out / "weights.safetensors")

    probabilities = [vessel_probability(model, fundus.image, side) for fundus in test]
    for fundus, probability in zip(test, probabilities, strict=True):
        save_sheet(args.out / f"{fundus.name}.png", fundus, probability)
    labels = [fundus.label for fundus in test]
    rows = {"RSAN": pooled_scores(probabilities, labels)}
    if all(fundus.second is not None for fundus in test):
        rows["second observer"] = pooled_scores([fundus.second for fundus in test], labels)
    print(markdown_table(rows))
    print(f"weights, log and a picture for each test photograph: {args.out}")


if __name__ == "__main__":
    main()
