"""Measure where the time of a training step of RSAN goes, by kind of operator.

Printed: seconds in the forward and in the backward pass, and the share of the whole. What stands
in no row (the engine, the loss, adding gradients) is the rest.
"""

import argparse
import time

import torch
from torch.profiler import ProfilerActivity, profile

from torchattn_blocks import rsan
from torchattn_blocks.retina import keep_freed_memory

# Names of the profiler: an operator's in the forward pass, a node's in the backward pass.
KINDS = {
    "convolutions": (["aten::conv2d", "aten::conv_transpose2d"], ["ConvolutionBackward0"]),
    "batch normalisation": (["aten::batch_norm"], ["NativeBatchNormBackward0"]),
    "ReLU": (["aten::relu"], ["ReluBackward0"]),
    "DropBlock": (["_DropBlock"], ["_DropBlockBackward"]),
    "attention but its convolution": (
        ["_MaxAndMean", "aten::stack", "aten::sigmoid", "aten::mul"],
        ["_MaxAndMeanBackward", "StackBackward0", "SigmoidBackward0", "MulBackward0"],
    ),
    "max-pooling": (["aten::max_pool2d"], ["MaxPool2DWithIndicesBackward0"]),
    "sums of branches, skips": (
        ["aten::add", "aten::cat"],
        ["AddBackward0", "CatBackward0"],
    ),
}
FUNCTIONS = ("_DropBlock", "_MaxAndMean")  # ours: operators inside them do not count again
NODE = "autograd::engine::evaluate_function: "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=592, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=2, help="images in a step")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one that warms up")
    args = parser.parse_args()
    keep_freed_memory()  # as the command `train` does
    torch.manual_seed(0)
    model = rsan()
    x = torch.rand(args.batch, 3, args.side, args.side)
    y = x[:, :1].round()

    def step() -> None:
        model.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()

    step()
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(args.steps):
            step()
    whole = (time.perf_counter() - start) / args.steps
    # Of operators inside ours only the outer ones count: `mul` inside DropBlock does not.
    seconds: dict[str, float] = {}
    for event in profiler.events():
        parents = []
        while parents[-1:] != [None]:
            parents.append((parents[-1] if parents else event).cpu_parent)
        if not any(parent and parent.name.startswith(FUNCTIONS) for parent in parents):
            seconds[event.name] = seconds.get(event.name, 0.0) + event.cpu_time_total / 1e6
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; RSAN, "
        f"{args.batch} x 3 x {args.side} x {args.side}, float32: {whole:.2f} s a step"
    )
    print("| operators | forward, s | backward, s | share |\n|---|---:|---:|---:|")
    rest = whole
    for kind, names in KINDS.items():
        forward = sum(seconds.get(name, 0.0) for name in names[0]) / args.steps
        backward = sum(seconds.get(NODE + name, 0.0) for name in names[1]) / args.steps
        rest -= forward + backward
        share = (forward + backward) / whole
        print(f"| {kind} | {forward:.2f} | {backward:.2f} | {share:.0%} |")
    print(f"| the rest | | | {rest / whole:.0%} |")


if __name__ == "__main__":
    main()
