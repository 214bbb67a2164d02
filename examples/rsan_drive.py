"""Segment with the shipped weights, train RSAN and score both.

Without --data it segments a real image, then trains a small network on synthetic images and
segments the real image with that, in about two minutes on two cores. With --data it scores the
shipped weights on DRIVE, then trains the paper's network by the paper's protocol.
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
from tqdm import tqdm

from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    Fundus,
    Network,
    Recipe,
    Trained,
    estimate_fov,
    keep_freed_memory,
    list_drive,
    load_pretrained,
    load_weights,
    markdown_table,
    pooled_scores,
    save_sheet,
    segment,
    synthesize,
    train,
    vessel_probability,
)


def save_photograph(path: Path, trained: Trained) -> None:
    """Segment a real image (CC0, scikit-image) and save a figure of it."""
    image = data.retina()  # (1411, 1411, 3), from another camera: segment resizes it
    fundus = Fundus("of scikit-image", image, label=None, fov=estimate_fov(image))
    save_sheet(path, fundus, segment(image, trained, fov=fundus.fov))


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


def reference_scores(test: list[Fundus], shipped: Trained) -> dict[str, dict[str, float]]:
    """Scores of the shipped weights and of the second observer, if the images have labels."""
    labels = [fundus.label for fundus in test]
    if any(label is None for label in labels):
        print("No scores: this copy of DRIVE has no vessel masks of its test images.")
        return {}
    probabilities = [segment(f.image, shipped, fov=f.fov) for f in tqdm(test, unit="image")]
    rows = {"shipped weights": pooled_scores(probabilities, labels)}
    if all(fundus.second_label is not None for fundus in test):
        rows["second observer"] = pooled_scores([fundus.second_label for fundus in test], labels)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of DRIVE, with training/ and test/ in it")
    parser.add_argument("--epochs", type=int, help="default: 200 on DRIVE, 25 on synthetic images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, image order and DropBlock")
    parser.add_argument("--out", type=Path, help="default: runs/rsan_drive or runs/rsan_synthetic")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args()
    on_drive = args.data is not None
    out = args.out or Path("runs", "rsan_drive" if on_drive else "rsan_synthetic")
    keep_freed_memory()
    try:
        training, validation, test, recipe, network = experiment(args)
        shipped = load_pretrained("drive")
        out.mkdir(parents=True, exist_ok=True)
        if not on_drive:
            save_photograph(out / "retina.png", shipped)
            print(f"Saved a real image, segmented with weights trained on DRIVE: {out}/retina.png")
        elif rows := reference_scores(test, shipped):
            print(markdown_table(rows) + "\n")
        torch.manual_seed(args.seed)
        model = network.build()
        train(model, training, validation, recipe, out, network=network, resume=args.resume)
    except (OSError, ValueError, FloatingPointError) as error:
        parser.error(str(error))

    probabilities = [vessel_probability(model, fundus.image, recipe.side) for fundus in test]
    for fundus, probability in zip(test, probabilities, strict=True):
        save_sheet(out / f"{fundus.name}.png", fundus, probability)
    if not on_drive:
        save_photograph(out / "retina-small.png", load_weights(out / "last.safetensors"))
        rows = reference_scores(test, shipped)
    if rows:
        trained = pooled_scores(probabilities, [fundus.label for fundus in test])
        print(markdown_table({"RSAN, trained now": trained, **rows}))
    print(f"Saved weights, log and a figure of each test image in {out}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command with --resume continues from the last checkpoint.")
