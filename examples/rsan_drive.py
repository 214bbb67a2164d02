"""Train RSAN, score it and save figures of its probability maps.

Without --data it first segments an image with the shipped weights, then trains a small network on
synthetic images, in about two minutes on two cores. With --data it trains the paper's network on
DRIVE by the paper's protocol.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

# OpenMP reads this variable when torch is imported. Waiting threads then leave the cores to other
# programs: on a busy machine training is several times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from skimage import data

from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    Fundus,
    Network,
    Recipe,
    estimate_fov,
    keep_freed_memory,
    list_drive,
    load_pretrained,
    markdown_table,
    pooled_scores,
    save_sheet,
    segment,
    synthesize,
    train,
    vessel_probability,
)


def segment_an_image(out: Path) -> None:
    """Segment a real image (CC0, scikit-image) with weights trained on DRIVE."""
    image = data.retina()  # (1411, 1411, 3), from another camera: segment resizes it
    fundus = Fundus(
        "of scikit-image", image, label=None, fov=estimate_fov(image), second_label=None
    )
    probability = segment(image, load_pretrained("drive"), fov=fundus.fov)
    save_sheet(out / "retina.png", fundus, probability)
    print(f"Vessels of a real image, by the weights trained on DRIVE: {out / 'retina.png'}")


def experiment(args: argparse.Namespace) -> tuple:
    """Return the training, validation and test images, the recipe and the network."""
    chosen = {"seed": args.seed}
    if args.epochs is not None:
        chosen["epochs"] = args.epochs
    if args.data is None:
        recipe = replace(Recipe(epochs=25, learning_rate=1e-2), **chosen)
        images = [synthesize(seed, height=256, width=248) for seed in range(22)]
        parts = images[:16], images[16:18], images[18:]
        return *parts, recipe, Network("rsan", widths=(8, 16, 32, 64))
    split = DRIVE_PROTOCOL.split(list_drive(args.data, "training") + list_drive(args.data, "test"))
    parts = ([files.read() for files in part] for part in split)
    return *parts, replace(DRIVE_PROTOCOL.recipe, **chosen), Network("rsan", p=DRIVE_PROTOCOL.p)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of DRIVE, with training/ and test/ in it")
    parser.add_argument("--epochs", type=int, help="default: 200 on DRIVE, 25 on synthetic images")
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial weights, image order, DropBlock"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/rsan_drive"))
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args()
    keep_freed_memory()
    try:
        training, validation, test, recipe, network = experiment(args)
        torch.manual_seed(args.seed)
        model = network.build()
        if args.data is None:
            args.out.mkdir(parents=True, exist_ok=True)
            segment_an_image(args.out)
        train(model, training, validation, recipe, args.out, network=network, resume=args.resume)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    probabilities = [vessel_probability(model, fundus.image, recipe.side) for fundus in test]
    for fundus, probability in zip(test, probabilities, strict=True):
        save_sheet(args.out / f"{fundus.name}.png", fundus, probability)
    labels = [fundus.label for fundus in test]
    if any(label is None for label in labels):
        print("No scores: this copy of DRIVE has no vessel masks of its test images.")
    else:
        rows = {"RSAN": pooled_scores(probabilities, labels)}
        if all(fundus.second_label is not None for fundus in test):
            rows["second observer"] = pooled_scores(
                [fundus.second_label for fundus in test], labels
            )
        print(markdown_table(rows))
    print(f"Saved weights, log and a figure of each test image in {args.out}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command with --resume goes on from the last whole epoch.")
