"""Run the installed DropBlocks and print what they do: fractions, dtypes, edge cases, coupling.

Nothing here is timed. Seeds are fixed. One table in Markdown, the same in JSON.
"""

import argparse
import json
import math
import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import libraries
import peers
import torch
from torch import Tensor

from torchattn_blocks.functional import drop_block2d

BLOCK = 7
SIZES = [7, 14, 28, 74, 592]
STANDARD_ERROR = 0.002
EDGE_DRAWS = 200

# A feature map of one channel: what all channels share and what each has alone is then the same,
# and each library needs one row only.
LIBRARIES = {
    "torchattn_blocks": None,
    "torchattn_blocks, paper, batch": None,
    "torchattn_blocks, scale=position": lambda x, p, b: drop_block2d(x, p, b, scale="position"),
    "torchvision": None,
    "timm": None,
    "dropblock": None,
    "textbook, max-pooling": None,
}


def drops() -> dict[str, peers.Drop]:
    known = {c.name: c.drop for c in peers.CONTENDERS}
    found = {name: drop or known[name] for name, drop in LIBRARIES.items()}
    return {name: drop for name, drop in found.items() if drop}


def kept_fraction(drop: peers.Drop, p: float, size: int) -> tuple[float, float]:
    """The mean fraction kept, and its standard error, over as many draws as make that small."""
    x = torch.ones(max(4, 1_000_000 // size**2), 1, size, size)
    draws: list[float] = []
    while True:
        draws.append((drop(x, p, BLOCK) != 0).double().mean().item())
        if len(draws) >= 5:
            error = statistics.stdev(draws) / math.sqrt(len(draws))
            if error < STANDARD_ERROR:
                return statistics.mean(draws), error


def kept_fractions(drop: peers.Drop) -> tuple[dict[str, str], float]:
    row, largest = {}, 0.0
    for keep in (0.85, 0.9):
        for size in SIZES:
            fraction, error = kept_fraction(drop, 1 - keep, size)
            row[f"keeps, asked {keep}, {size}x{size}"] = f"{fraction:.3f}"
            largest = max(largest, error)
    return row, largest


def position_bias(drop: peers.Drop) -> dict[str, str]:
    """The mean factor over many maps: 1 everywhere where no position is favoured."""
    y = drop(torch.ones(100_000, 1, 14, 14), 0.15, BLOCK).double().mean((0, 1))
    return {
        "mean factor in a corner, 14x14, asked 0.85": f"{y[0, 0]:.2f}",
        "mean factor in the centre, 14x14, asked 0.85": f"{y[7, 7]:.2f}",
    }


def half_precision(drop: peers.Drop) -> dict[str, str]:
    row = {}
    for size in (224, 320, 1024):
        y = drop(torch.ones(1, 1, size, size, dtype=torch.float16), 0.15, BLOCK)
        name = f"float16, mean of the output, {size**2:,} ones"
        row[name] = f"{y.float().mean():.2f}" + ("" if y.dtype == torch.float16 else f", {y.dtype}")
    return row


def outcome(call: Callable[[], Tensor]) -> str:
    try:
        y = call()
    except Exception as error:  # whatever a peer raises is the fact
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if y.isnan().any():
        return "NaN"
    if y.isinf().any():
        return "infinite"
    return "runs"


def often(call: Callable[[], Tensor]) -> str:
    """What happens in many draws, with the share of each if there is more than one outcome."""
    count = Counter(outcome(call) for _ in range(EDGE_DRAWS))
    if len(count) == 1:
        return next(iter(count))
    return ", ".join(f"{name} {n / EDGE_DRAWS:.1%}" for name, n in count.most_common())


def edge_cases(drop: peers.Drop) -> dict[str, str]:
    def on(*size: int, p: float = 0.15, block: int = BLOCK) -> str:
        return often(lambda: drop(torch.ones(1, 1, *size), p, block))

    infinite = torch.full((1, 1, 40, 40), math.inf)
    finite = often(lambda: torch.nan_to_num(drop(infinite, 0.5, BLOCK), nan=math.nan, posinf=1))
    return {
        "block 7 on 5x5": on(5, 5),
        "block 7 on 6x9": on(6, 9),
        "block 4 on 14x14": on(14, 14, block=4),
        "block 7 on 7x7, asked 0.5, one map": on(7, 7, p=0.5),
        "p = 1, 14x14": on(14, 14, p=1.0),
        "infinite input, asked 0.5": finite,
        "empty batch": outcome(lambda: drop(torch.ones(0, 1, 14, 14), 0.15, BLOCK)),
    }


def coupling(drop: peers.Drop) -> dict[str, str]:
    """What the factor of the first sample's centre is counted over, in batches of two samples."""
    factors, own = [], []
    for _ in range(200):
        sample = drop(torch.ones(2, 1, 28, 28), 0.15, BLOCK)[0]
        if sample.any():
            factors.append(sample.max().item())
            own.append(1 / (sample != 0).double().mean().item())
    steady = max(factors) - min(factors) < 1e-6
    counted = all(math.isclose(*pair, rel_tol=1e-4) for pair in zip(factors, own, strict=True))
    verdict = "no" if steady or counted else "yes"
    return {
        "a sample's factor depends on its batch": verdict,
        "largest factor, 200 batches of two 28x28 maps": (
            f"{min(factors):.2f}" if steady else f"{min(factors):.2f} to {max(factors):.2f}"
        ),
    }


def recompilations() -> dict[str, dict[str, str]]:
    """How often `torch.compile` compiles a layer whose rate changes at each of six steps."""
    from torchattn_blocks import DropBlock2d

    layers = {"torchattn_blocks": (DropBlock2d(0.1, BLOCK), "p")}
    if "torchvision" in libraries.versions(peers.CONTENDERS):
        from torchvision.ops import DropBlock2d as Torchvision

        layers["torchvision"] = (Torchvision(0.1, BLOCK), "p")
    if "timm" in libraries.versions(peers.CONTENDERS):
        from timm.layers import DropBlock2d as Timm

        layers["timm"] = (Timm(0.1, BLOCK), "drop_prob")
    if "dropblock" in libraries.versions(peers.CONTENDERS):
        from dropblock import DropBlock2D

        layers["dropblock"] = (DropBlock2D(0.1, BLOCK), "drop_prob")
    return {name: {"compilations, 6 rates": compilations(*layer)} for name, layer in layers.items()}


def compilations(layer: torch.nn.Module, attribute: str) -> str:
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter)
    x = torch.ones(1, 2, 14, 14)
    for step in range(6):
        setattr(layer, attribute, 0.1 + 0.01 * step)
        if (result := outcome(lambda: compiled(x))) != "runs":
            return f"step {step + 1} raises {result.split(':')[0]}"
    return str(counter.frame_count)


def markdown(facts: dict) -> str:
    rows = facts["facts"]
    names = list(rows)
    versions = facts["versions"]
    title = [f"{n} {versions[n]}" if n in versions else n for n in names]
    questions = list(dict.fromkeys(q for row in rows.values() for q in row))
    lines = [
        f"| block {BLOCK} | " + " | ".join(title) + " |",
        "|---|" + "---|" * len(names),
        *(
            f"| {q} | " + " | ".join(rows[n].get(q, "").replace("|", r"\|") for n in names) + " |"
            for q in questions
        ),
    ]
    note = (
        f"Kept fractions are means over maps of one channel with a standard error of at most "
        f"{facts['largest_standard_error']:.4f}; edge cases are the outcomes of {EDGE_DRAWS} "
        f"draws. torch {versions['torch']}, CPU."
    )
    keras = (
        "Not run: `keras_cv.layers.DropBlock2D(rate, block_size, seed=None)` (it needs "
        "TensorFlow). Its documentation says of `block_size`: “If this value is greater or equal "
        "to the input feature map size you will encounter `nan` values.”"
    )
    missing = [f"Not installed, therefore not run: {reason}." for reason in facts["missing"]]
    return "\n".join(lines) + "\n\n" + "\n\n".join([note, keras, *missing]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the facts into this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of peers; what matters is in the table
    torch.set_num_threads(2)
    rows, largest = {}, 0.0
    for name, drop in drops().items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        torch.manual_seed(0)
        fractions, error = kept_fractions(drop)
        largest = max(largest, error)
        checks = (position_bias, half_precision, coupling, edge_cases)
        rows[name] = fractions | {q: a for check in checks for q, a in check(drop).items()}
    for name, row in recompilations().items():
        rows[name] |= row
    facts = {
        "versions": libraries.versions(peers.CONTENDERS),
        "missing": libraries.missing(peers.CONTENDERS),
        "largest_standard_error": largest,
        "facts": rows,
    }
    if args.json:
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    print(markdown(facts))


if __name__ == "__main__":
    main()
