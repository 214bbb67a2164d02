"""A U-Net for volumes: find drawn vessels in three dimensions.

It draws volumes, trains a small network on sixteen of them, compares its scores on six others with
thresholds, and draws one. It takes about a minute on one core, and needs pip install ".[retina]"
for scores, progress and the picture.

OMP_NUM_THREADS=1 python examples/volumes.py
"""

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from torchattn_blocks import DropBlock3d, EfficientChannelAttention, UNet, plain_stage
from torchattn_blocks.retina import best_threshold, error_map, markdown_table, pooled_scores

SIZE = (16, 64, 64)  # slices, rows, columns
APART = 3  # slices are this many times as far apart as pixels
TRAINING, TEST = range(16), range(100, 106)  # seeds of the volumes


def network() -> nn.Module:
    stage = plain_stage(
        drop=lambda: DropBlock3d(0.05, block_size=(1, 3, 3)), attention=EfficientChannelAttention
    )
    return UNet(1, 1, widths=(8, 16, 32), strides=[(1, 2, 2), 2], spatial_dims=3, stage=stage)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume of values from 0 to 1, and a mask of its vessels."""
    rng = np.random.default_rng(seed)
    # On cubic voxels first: a thick slice is the mean of several thin ones.
    fine = (SIZE[0] * APART, *SIZE[1:])
    vessels, blobs = np.zeros(fine), np.zeros(fine)
    for _ in range(5):
        start, end = rng.uniform(0.1, 0.9, (2, 3)) * fine
        side = rng.integers(1, 3)  # they enter at an edge of the slices
        start[side] = 0
        grow(vessels, start, end - start, rng.uniform(1.8, 2.6), rng)
    for _ in range(12):
        ball(blobs, rng.uniform(0, fine), rng.uniform(3, 5))
    vessels, blobs = (
        drawn.reshape(SIZE[0], APART, *SIZE[1:]).mean(1) for drawn in (vessels, blobs)
    )
    background = gaussian_filter(rng.normal(size=SIZE), (4, 12, 12))
    noise = gaussian_filter(rng.normal(size=SIZE), (0, 0.6, 0.6))
    volume = 0.35 + 0.08 * background / background.std() + 0.06 * noise / noise.std()
    volume += 0.25 * np.maximum(vessels, blobs)
    return volume.clip(0, 1).astype(np.float32), vessels > 0.4


def grow(
    drawn: np.ndarray,
    at: np.ndarray,
    direction: np.ndarray,
    radius: float,
    rng: np.random.Generator,
) -> None:
    """Draw a tube that bends, thins and splits in two, until it leaves the volume."""
    while radius > 1 and (at >= 0).all() and (at < drawn.shape).all():
        ball(drawn, at, radius)
        direction = direction / np.linalg.norm(direction) + rng.normal(0, 0.12, 3)
        at = at + direction / np.linalg.norm(direction)
        radius *= 0.995
        if rng.random() < 0.04:
            aside = direction + rng.normal(0, 0.7, 3)
            grow(drawn, at, aside, radius * rng.uniform(0.6, 0.9), rng)


def ball(drawn: np.ndarray, centre: np.ndarray, radius: float) -> None:
    """Set the voxels of a ball to 1."""
    corner = np.maximum(0, centre - radius).astype(int)
    box = drawn[tuple(slice(n, n + int(2 * radius) + 2) for n in corner)]
    axes = np.ogrid[tuple(map(slice, box.shape))]
    squares = [(low + axis - c) ** 2 for low, axis, c in zip(corner, axes, centre, strict=True)]
    box[sum(squares) <= radius**2] = 1


def loss(logits: torch.Tensor, vessels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus one minus the Dice coefficient."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * vessels).sum() / (probability + vessels).sum()
    return F.binary_cross_entropy_with_logits(logits, vessels) + 1 - overlap


def train(
    model: nn.Module, volumes: Sequence[np.ndarray], labels: Sequence[np.ndarray], steps: int
) -> None:
    """Train on four crops in each step, a quarter of a volume each, flipped at random."""
    pairs = torch.from_numpy(np.stack([volumes, labels], 1).astype(np.float32))
    height, width = SIZE[1] // 2, SIZE[2] // 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)
    model.train()
    progress = tqdm(range(steps), unit="step")
    for _ in progress:
        chosen = torch.randint(len(pairs), (4,)).tolist()
        corners = torch.randint(min(height, width) + 1, (4, 2)).tolist()
        crops = [
            pairs[i, :, :, top : top + height, left : left + width]
            for i, (top, left) in zip(chosen, corners, strict=True)
        ]
        flips = [axis for axis in (-3, -2, -1) if torch.rand(()) < 0.5]
        x, y = torch.stack(crops).flip(flips).split(1, 1)
        optimizer.zero_grad()
        error = loss(model(x), y)
        error.backward()
        optimizer.step()
        rates.step()
        progress.set_postfix(loss=f"{error.item():.2f}")


def smooth(volume: np.ndarray) -> np.ndarray:
    """Remove noise and slow changes of brightness."""
    fine, slow = (gaussian_filter(volume, (s / APART, s, s)) for s in (1, 10))
    return (0.5 + fine - slow).clip(0, 1)


def slices(volumes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All slices of all volumes, in the form that the scores take."""
    return list(np.concatenate(volumes))


def save_picture(
    path: Path, volume: np.ndarray, label: np.ndarray, probability: np.ndarray
) -> None:
    """Save projections along two axes and one slice, with missed and false voxels."""
    from matplotlib.figure import Figure
    from PIL import Image

    fullest = int(label.sum((1, 2)).argmax())
    views = {  # the view of a volume, and the height of one of its rows
        "brightest of all slices": (lambda x: x.max(0), 1),
        "brightest, from the side": (lambda x: x.max(1), APART),
        f"slice {fullest + 1} of {SIZE[0]}": (lambda x: x[fullest], 1),
    }
    heights = [SIZE[1], APART * SIZE[0], SIZE[1]]
    figure = Figure(figsize=(9.2, 2.25 * sum(heights) / SIZE[2] + 0.5), layout="constrained")
    axes = figure.subplots(3, 4, height_ratios=heights)
    for row, (title, (view, aspect)) in zip(axes, views.items(), strict=True):
        seen = view(volume), view(label), view(probability)
        shown = (*seen, error_map(seen[2], seen[1]))
        for axis, values in zip(row, shown, strict=True):
            low, high = np.quantile(values, [0.01, 0.999]) if values is seen[0] else (0, 1)
            axis.imshow(values, "gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title, fontsize=9)
    titles = ("volume (drawn)", "its vessels", "probability", "orange: false, blue: missed")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=96)
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="of the optimizer")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and DropBlock")
    parser.add_argument("--out", type=Path, default=Path("runs/volumes"), help="a folder")
    args = parser.parse_args()
    volumes, labels = zip(*map(draw, TRAINING), strict=True)
    seen, truth = zip(*map(draw, TEST), strict=True)

    torch.manual_seed(args.seed)
    model = network().to(memory_format=torch.channels_last_3d)  # faster on processors
    start = time.perf_counter()
    train(model, volumes, labels, args.steps)
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        found = model.predict_proba(torch.from_numpy(np.stack(seen))[:, None])[:, 0].numpy()

    scores = {}
    for row, prepare in {"threshold": np.copy, "smoothed, then threshold": smooth}.items():
        chosen = best_threshold(slices([prepare(x) for x in volumes]), slices(labels))
        prepared = slices([prepare(x) for x in seen])
        scores[row] = pooled_scores(prepared, slices(truth), threshold=chosen)
    scores["UNet"] = pooled_scores(slices(found), slices(truth))
    names = {"F1": "Dice", "SEN": "sensitivity", "AP": "average precision"}
    table = {row: {name: s[key] for key, name in names.items()} for row, s in scores.items()}
    print(markdown_table(table))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"\n{parameters:,} parameters, trained for {seconds:.0f} s")
    args.out.mkdir(parents=True, exist_ok=True)
    save_picture(args.out / "volumes.png", seen[0], truth[0], found[0])
    print(f"Picture: {args.out / 'volumes.png'}")


if __name__ == "__main__":
    main()
