"""Measure what a hook on the convolution of `SpatialAttention` costs.

python benchmarks/hooked_convolution.py [--rounds 25] [--threads 2]

Without hooks the convolution gets channels last; with one it gets memory in the layout of the
layer's input, because some tools misread another. In each round both are timed one after the other,
forward and backward on 2 x 16 x 592 x 592 in contiguous memory. Printed is the median of the
ratios.
"""

import argparse
import time
from statistics import median

import torch
from torch import Tensor, nn

from torchattn_blocks import SpatialAttention


def seconds(layer: nn.Module, x: Tensor, grad: Tensor) -> float:
    """The time of a forward and backward pass."""
    start = time.perf_counter()
    torch.autograd.grad(layer(x), [x, *layer.parameters()], grad)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x = torch.randn(2, 16, 592, 592, requires_grad=True)
    grad = torch.randn_like(x)
    plain, hooked = SpatialAttention(), SpatialAttention()
    hooked.conv.register_forward_hook(lambda module, inputs, output: None)
    ratios = []
    for _ in range(args.rounds + 1):
        before = seconds(plain, x, grad)
        ratios.append(seconds(hooked, x, grad) / before)
    print(f"hooked / not hooked: {median(ratios[1:]):.2f}")  # the first round fills caches


if __name__ == "__main__":
    main()
