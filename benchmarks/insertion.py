"""Measure what layers inserted into a trained network do to it: at once, and while it is tuned.

python benchmarks/insertion.py --data path/to/DRIVE [--out docs/images/insertion.png]

The network is RSAN with the weights trained on DRIVE, whose two validation images are scored.
Layers go after its stages. First without training: attention after all stages, then DropBlock
active after one stage. Then each network is trained for some steps on random crops of the training
images, and scored between them. Printed are tables; the figure is of the training.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from torchattn_blocks import (
    CBAM,
    DropBlock2d,
    DropSchedule,
    IdentityStart,
    SpatialAttention,
    SqueezeExcite,
    changes,
    insert_after,
    out_channels,
)
from torchattn_blocks.retina import (
    DRIVE_PROTOCOL,
    Crops,
    Fundus,
    keep_freed_memory,
    list_drive,
    load_pretrained,
    pooled_scores,
)

STAGES = [*(f"encoders.{i}" for i in range(3)), "bottleneck", *(f"decoders.{i}" for i in range(3))]
ATTENTION: dict[str, Callable[[nn.Module], nn.Module]] = {
    "SpatialAttention": lambda stage: SpatialAttention(),
    "SqueezeExcite": lambda stage: SqueezeExcite(out_channels(stage)),
    "CBAM": lambda stage: CBAM(out_channels(stage)),
}
RATES = (0.05, 0.15, 0.3)  # of dropping
RATE = 3e-4  # of learning


def trained() -> nn.Module:
    return load_pretrained("drive").model


def after(stages: list[str], factory: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """The trained network with a layer after some stages."""
    torch.manual_seed(0)
    return insert_after(trained(), lambda name, module: name in stages, factory, inplace=True)


def tensors(fundus: Fundus) -> tuple[Tensor, Tensor, Tensor]:
    """Image, vessel mask and field of view, of shapes (3, H, W), (1, H, W) and (1, H, W)."""
    image = torch.from_numpy(fundus.image).permute(2, 0, 1) / 255
    masks = (torch.from_numpy(mask)[None].float() for mask in (fundus.label, fundus.fov))
    return image, *masks


@torch.no_grad()
def scores(model: nn.Module, images: list[Fundus], *, drop: bool = False) -> tuple[float, float]:
    """F1 and mean cross entropy, in evaluation mode, or with the inserted layers in training."""
    training = model.training
    model.eval()
    for change in changes(model):
        model.get_submodule(change.name).train(drop)
    probabilities, losses = [], []
    for fundus in images:
        image, label, _ = tensors(fundus)
        logits = model(image[None])[0]
        losses.append(F.binary_cross_entropy_with_logits(logits, label).item())
        probabilities.append(logits[0].sigmoid().numpy())
    model.train(training)
    f1 = pooled_scores(probabilities, [fundus.label for fundus in images])["F1"]
    return f1, float(np.mean(losses))


def print_table(title: str, columns: list[str], rows: dict[str, list[tuple[float, float]]]) -> None:
    """A table of F1 and one of the loss, for each row and column."""
    for number, score in enumerate(("F1", "loss")):
        print(f"\n| {score} {title} | {' | '.join(columns)} |")
        print("|---|" + "---:|" * len(columns))
        for name, cells in rows.items():
            print(f"| {name} | {' | '.join(f'{cell[number]:.4f}' for cell in cells)} |")


def tune(
    model: nn.Module, training: list[Fundus], steps: int, ramp: DropSchedule | None, alpha: float
) -> Iterator[None]:
    """Train, with a learning rate of its own for the alpha of `IdentityStart`."""
    crop, rng = Crops(side=192, free=0), np.random.default_rng(0)
    loaded = [tensors(fundus) for fundus in training]
    named = list(model.named_parameters())
    alphas = [weight for name, weight in named if name.endswith("alpha")]
    others = [weight for name, weight in named if not name.endswith("alpha")]
    groups = [{"params": others}, {"params": alphas, "lr": alpha, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    model.train()
    torch.manual_seed(0)
    for _ in range(steps):
        crops = [crop(*loaded[i], rng) for i in rng.integers(len(loaded), size=4)]
        x, y = (torch.stack(part) for part in zip(*crops, strict=True))
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(x), y).backward()
        optimizer.step()
        if ramp is not None:
            ramp.step()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of DRIVE")
    parser.add_argument("--steps", type=int, default=48, help="of training, for each network")
    parser.add_argument("--every", type=int, default=8, help="steps between scores")
    parser.add_argument("--out", type=Path, default=Path("insertion.png"), help="the figure")
    args = parser.parse_args()
    keep_freed_memory()
    split = DRIVE_PROTOCOL.split(list_drive(args.data, "training") + list_drive(args.data, "test"))
    training, validation = ([files.read() for files in part] for part in split[:2])

    rows = {"none": [scores(trained(), validation)] * 2}
    for name, factory in ATTENTION.items():
        started = after(STAGES, lambda stage, make=factory: IdentityStart(make(stage)))
        networks = after(STAGES, factory), started
        rows[name] = [scores(network, validation) for network in networks]
    print_table("after all stages", ["as it is", "in IdentityStart"], rows)

    rows = {
        stage: [
            scores(after([stage], lambda _, p=p: DropBlock2d(p, 7)), validation, drop=True)
            for p in RATES
        ]
        for stage in STAGES
    }
    print_table("with DropBlock after", [f"p = {p:g}" for p in RATES], rows)

    def identity(stage: nn.Module) -> nn.Module:
        return IdentityStart(CBAM(out_channels(stage)))

    def drop(stage: nn.Module) -> nn.Module:
        return DropBlock2d(0.15, 7)

    networks = {
        "unchanged": trained(),
        "CBAM": after(STAGES, ATTENTION["CBAM"]),
        "CBAM in IdentityStart": after(STAGES, identity),
        "CBAM in IdentityStart, alpha fast": after(STAGES, identity),
        "DropBlock, p = 0.15": after(STAGES, drop),
        "DropBlock, p from 0 to 0.15": after(STAGES, drop),
    }
    curves = {}
    progress = tqdm(total=len(networks) * args.steps, unit="step")
    for name, network in networks.items():
        ramp = None
        if "from 0" in name:
            ramp = DropSchedule(network, 0, None, args.steps, where=lambda n, _: "inserted" in n)
        curves[name] = [scores(network, validation)]
        alpha = 30 * RATE if "fast" in name else RATE
        for step, _ in enumerate(tune(network, training, args.steps, ramp, alpha), 1):
            progress.update()
            if step % args.every == 0:
                curves[name].append(scores(network, validation))
    at = list(range(0, args.steps + 1, args.every))
    shown = at[:: max(1, len(at) // 5)]
    rows = {name: [curve[at.index(step)] for step in shown] for name, curve in curves.items()}
    print_table("after steps", [str(step) for step in shown], rows)

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in curves.items():
        losses = [loss for _, loss in curve]
        axes.plot(at, losses, label=name, linestyle="--" if name == "unchanged" else "-")
    axes.set(xlabel="training step", ylabel="loss on validation images", yscale="log")
    axes.set_yticks([0.1, 0.2, 0.4], labels=["0.1", "0.2", "0.4"], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
