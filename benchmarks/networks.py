"""U-Nets of other libraries beside ours: time of a training step and of inference, and memory.

    python benchmarks/networks.py --out docs/unet_peers.md

Three groups of networks with about as many parameters. In the third all have the ResNet-18 of timm
or of segmentation_models.pytorch as encoder, and decoders of the same widths. For one image of each
size in float32 are measured:

- **step**: forward pass, binary cross entropy and backward pass, in training mode;
- **inference**: forward pass in evaluation mode without gradients;
- **held**: bytes that the forward pass keeps for the backward pass, without weights, image and
  logits, counted by a walk over autograd's graph;
- **GFLOP**: of the forward pass in evaluation mode, as torch counts them.

The networks of a group take turns in one process, in an order drawn anew for each round. Written
are medians over rounds of seconds divided by the time of the group's first network in the same
round, with quartiles.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import libraries
import torch
from held import bytes_held
from libraries import OURS
from memory import cpu, example, step
from memory_networks import MONAI, SMP, SMP_MOBILENET, Contender, peer
from tables import significant, table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from torchattn_blocks import UNet, backbone, plain_stage, rsan, unet
from torchattn_blocks.retina import keep_freed_memory

SIDES = (128, 288, 592)
DECODER = (16, 32, 64, 128, 256)


def ours(name: str, build: Callable[[], nn.Module], library: str = "torch") -> Contender:
    missing = "" if find_spec(library) else f"{library} is not installed"
    return Contender(name=name, library=OURS, missing=missing, build=build)


def around_resnet18(**options: object) -> UNet:
    encoder = resolve_name("timm.create_model")("resnet18", features_only=True, pretrained=False)
    return UNet(3, 1, encoder=encoder, widths=DECODER, stage=plain_stage(bias=False), **options)


STEP, INFERENCE = "Training step, seconds and ratios", "Inference, seconds and ratios"
MEMORY = "Held for the backward pass, MiB, and in brackets GFLOP of a forward pass"
MEASURES = (STEP, INFERENCE, MEMORY)
Rows = dict[str, list[str]]
UNET, BASIC = "monai.networks.nets:UNet", "monai.networks.nets:BasicUNet"
MONAI_UNET = partial(peer, "MONAI UNet", MONAI, UNET, 2, 3, 1)
MONAI_BASIC = partial(peer, "MONAI BasicUNet", MONAI, BASIC, 2, 3, 1)
GROUPS = {
    "Half a million parameters": [
        ours("unet()", unet),
        ours("unet(inplace=True)", partial(unet, inplace=True)),
        MONAI_BASIC((16, 16, 32, 63, 126, 16)),
        MONAI_UNET((18, 36, 70, 140), (2, 2, 2), num_res_units=2),
    ],
    "A million parameters": [
        ours("rsan()", rsan),
        ours("rsan(memory_efficient=True)", partial(rsan, memory_efficient=True)),
        ours("backbone()", backbone),
        MONAI_BASIC((22, 22, 44, 92, 182, 22)),
        MONAI_UNET((26, 52, 100, 200), (2, 2, 2), num_res_units=2),
        SMP_MOBILENET,
    ],
    "14 million parameters, ResNet-18 as encoder": [
        ours("UNet(encoder=resnet18)", around_resnet18, "timm"),
        ours(
            "the same, memory_efficient=True",
            partial(around_resnet18, memory_efficient=True),
            "timm",
        ),
        peer("smp.Unet", SMP, f"{SMP}:Unet", "resnet18", encoder_weights=None),
    ],
}


def infer(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Forward pass, without what a training step needs."""
    with torch.no_grad():
        model(x)


def seconds(
    models: dict[str, nn.Module], call: Callable[..., None], side: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call, in rounds."""
    x, y = example(1, side)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name in random.Random(number).sample([*models], len(models)):
            start = time.perf_counter()
            call(models[name], x, y)
            taken[name].append(time.perf_counter() - start)
    return {name: all_of_it[1:] for name, all_of_it in taken.items()}  # the first fills caches


def held(model: nn.Module, side: int) -> int:
    x, _ = example(1, side)
    return bytes_held(model(x), x, *model.parameters(), *model.buffers())


def ratios(taken: dict[str, list[float]]) -> dict[str, str]:
    """The median ratio to the first, and quartiles; for the first itself the median seconds."""
    first, *others = taken
    cells = {first: f"{significant(statistics.median(taken[first]))} s"}
    for name in others:
        of_rounds = [a / b for a, b in zip(taken[name], taken[first], strict=True)]
        low, middle, high = statistics.quantiles(of_rounds, n=4)
        cells[name] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    return cells


def measured(contenders: list[Contender], sides: list[int], rounds: int) -> dict[str, Rows]:
    """For each measure the cells of each network of a group."""
    present = [c for c in contenders if not c.missing]
    models = {c.name: c.build() for c in present}
    found: dict[str, Rows] = {measure: {name: [] for name in models} for measure in MEASURES}
    for name, model in models.items():
        found[MEMORY][name].append(f"{sum(w.numel() for w in model.parameters()):,}")
    for side in sides:
        print(side, "...", flush=True)
        for model in models.values():
            model.train()
        steps = ratios(seconds(models, step, side, rounds))
        kept = {name: held(model, side) for name, model in models.items()}
        for model in models.values():
            model.eval()
        passes = ratios(seconds(models, infer, side, rounds))
        for name, model in models.items():
            with FlopCounterMode(display=False) as counter:
                infer(model, *example(1, side))
            flops = significant(counter.get_total_flops() / 1e9)
            found[STEP][name].append(steps[name])
            found[INFERENCE][name].append(passes[name])
            found[MEMORY][name].append(f"{kept[name] / 2**20:,.0f} ({flops})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file for the tables")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (default: 11)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default: 2)")
    parser.add_argument("--sides", type=int, nargs="*", default=SIDES, help="pixels")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    every = [contender for group in GROUPS.values() for contender in group]
    versions = ", ".join(f"{name} {v}" for name, v in libraries.versions(every).items())
    text = f"{args.threads} threads, {cpu()}, torch {torch.__version__}, {versions}.\n"
    tables: dict[str, list[list[str]]] = {measure: [] for measure in MEASURES}
    for group, contenders in GROUPS.items():
        print(group, flush=True)
        for measure, rows in measured(contenders, args.sides, args.rounds).items():
            empty = [""] * len(next(iter(rows.values())))
            tables[measure] += [
                [f"**{group}**", *empty],
                *([n, *cells] for n, cells in rows.items()),
            ]
    for measure, lines in tables.items():
        columns = [f"{side} × {side}" for side in args.sides]
        header = ["", "parameters", *columns] if measure == MEMORY else ["", *columns]
        text += f"\n{measure}:\n\n{table(header, lines)}"
    if args.out:
        args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
