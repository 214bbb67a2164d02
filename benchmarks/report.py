"""Run the DropBlock benchmark and the facts about other libraries, and write tables and a plot.

    python benchmarks/report.py --out docs/drop_block

Results that are already there are turned into tables without a run:

    python benchmarks/report.py results.json --facts facts.json --out docs/drop_block
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import peer_facts
import peers
from libraries import OURS
from measure import PASSES
from plots import draw, legend_of, styles
from results import HERE, options, read, refuse_without, rows_of, run, save
from tables import environment, grid, of_passes, ratio_cell, shape_name, significant, table

RUNS = Path("runs/drop_block")
MASK = {"one mask for": "mask"}


def measure(args: argparse.Namespace) -> tuple[list[Path], Path]:
    """Measure now; some ten minutes."""
    parts = {"times": "not compiler", "compiler": "compiler"}
    paths = [
        run("test_drop_block.py", RUNS / f"{part}.json", args, chosen)
        for part, chosen in parts.items()
    ]
    print("facts ...", flush=True)
    facts = RUNS / "facts.json"
    subprocess.run([sys.executable, HERE / "peer_facts.py", "--json", facts], check=True)
    return paths, facts


def sweep(rows: list[dict]) -> str:
    """Ours against the faster of the others at each block and rate."""
    rates = sorted({row["p"] for row in rows})
    blocks = sorted({row["block"] for row in rows})
    lines = []
    for block in blocks:
        line = [str(block)]
        for p in rates:
            here = [row for row in rows if row["block"] == block and row["p"] == p]
            best = min((r for r in here if not r["name"].startswith(OURS)), key=ratio)
            own = next(row for row in here if row["name"] == OURS)
            paper = next(row for row in here if row["name"] == f"{OURS}, paper, batch")
            line.append(
                f"{significant(ratio(own))}, {significant(ratio(paper))} / "
                f"{significant(ratio(best))}"
            )
        lines.append(line)
    return table(["block", *(f"p = {p:g}" for p in rates)], lines)


def ratio(row: dict) -> float:
    """The median where there are quartiles beside it, else the fastest, which noise moves least."""
    return row["ratio_of_fastest" if row["table"] == "sweep" else "ratio"]


SUMMARY = {  # of the table of libraries in the README: name in the facts, in the times, addition
    "torchattn_blocks": (OURS, ""),
    "torchattn_blocks, paper, batch": (f"{OURS}, paper, batch", ""),
    "torchvision": ("torchvision", ""),
    "timm": ("timm, couple_channels=False", ", `couple_channels=False`"),
    "dropblock": ("dropblock", ", one mask for all channels"),
}


def summary(results: dict, facts: dict) -> str:
    """What a reader wants to know first: kept fractions, float16, time and memory."""
    rows = rows_of(results)
    level = [r for r in rows if r["table"] == "level" and r["passes"] == "forward+backward"]
    first, small = (2, 16, 592, 592), (8, 64, 56, 56)
    lines = []
    for fact_name, (time_name, addition) in SUMMARY.items():
        mine = facts["facts"][fact_name]
        found = {tuple(row["shape"]): row for row in level if row["name"] == time_name}
        version = facts["versions"].get(fact_name, "")
        lines.append(
            [
                f"{fact_name} {version}".strip() + addition,
                *(mine[f"keeps, asked 0.85, {s}x{s}"] for s in (7, 14, 592)),
                mine["float16, mean of the output, 1,048,576 ones"],
                significant(ratio(found[first])),
                significant(ratio(found[small])),
                f"{found[first]['bytes_held']:,}",
            ]
        )
    header = ["block 7", "fraction kept (target .85), 7 × 7", "14 × 14", "592 × 592"]
    header += ["float16, mean output for ones", f"time, {shape_name(first)}"]
    header += [f"time, {shape_name(small)}", f"bytes held, {shape_name(first)}"]
    return table(header, lines)


OWN = {  # what others with the same kind of mask are compared with
    peers.PER_CHANNEL: OURS,
    peers.SHARED: f"{OURS}, channelwise=False",
    peers.SAMPLE: f"{OURS}, stochastic depth",
}


def losses(rows: list[dict]) -> list[str]:
    """Every place where another layer with the same kind of mask is faster than ours."""
    lines = []
    for row in rows:
        name = OWN.get(row["mask"])
        if name is None or row["name"].startswith(OURS):
            continue
        keys = ("table", "shape", "passes", "p", "block")
        for own in rows:
            same = own["name"] == name and all(own[key] == row[key] for key in keys)
            if same and ratio(own) > ratio(row):
                lines.append(
                    f"- {shape_name(row['shape'])}, block {row['block']}, p {row['p']:g}, "
                    f"{row['passes']}: {row['name']} {significant(ratio(row))}, "
                    f"{own['name']} {significant(ratio(own))}"
                )
    return lines


def markdown(results: dict) -> str:
    rows = rows_of(results)
    level = [row for row in rows if row["table"] == "level"]
    swept = [row for row in rows if row["table"] == "sweep"]
    compiler = [row for row in rows if row["table"] == "compiler"]
    first = level[0]
    parts = [
        "<!-- Written by benchmarks/report.py -->",
        f"float32, block {first['block']}, p {first['p']:g}. {environment(results)}",
    ]
    for passes in PASSES:
        parts += [
            f"**{passes}: time divided by the time of `x * 2.`** "
            "(median of the rounds, and quartiles)",
            grid(of_passes(level, passes), ratio_cell, MASK),
            f"**{passes}: milliseconds** (median)",
            grid(of_passes(level, passes), lambda row: significant(row["seconds"] * 1e3), MASK),
        ]
    parts += [
        "**Bytes held for the backward pass** (`x` and the output not counted)",
        grid(of_passes(level, "forward+backward"), lambda row: f"{row['bytes_held']:,}", MASK),
    ]
    if swept:
        parts += [
            f"**Blocks and rates**, {shape_name(swept[0]['shape'])}, forward+backward, the fastest "
            "round divided by the fastest of `x * 2.`: ours, ours with the paper's gamma and scale "
            "/ the faster of torchvision (odd blocks only) and the textbook form",
            sweep(swept),
        ]
    for passes in PASSES if compiler else []:
        parts += [
            f"**Compiled, {passes}**: {OURS} with `torch.compile` and without, in a process "
            "of its own",
            grid(of_passes(compiler, passes), ratio_cell, MASK),
        ]
    slower = losses(rows)
    parts += [
        "**Where ours is slower** than another layer with the same kind of mask:",
        "\n".join(slower) if slower else "nowhere in this run.",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


UNDRAWN = {
    "x * 2.",
    "x * 2. as an autograd.Function",
    "F.dropout2d",
    "textbook, max-pooling",
    f"{OURS}, scale=batch",
    "torchvision, stochastic depth",
    "timm, drop path",
    f"{OURS}, stochastic depth",
}


def plot(rows: list[dict], path: Path) -> None:
    level = [row for row in rows if row["table"] == "level" and row["name"] not in UNDRAWN]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    style = styles(row["name"] for row in level)
    for axis, passes in zip(axes, PASSES, strict=True):
        draw(axis, of_passes(level, passes), passes, style)
    axes[0].set_ylabel("time / time of x * 2.")
    figure.legend(**legend_of(figure, style), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--facts", type=Path, help="JSON of peer_facts.py")
    args = parser.parse_args()
    refuse_without(peers.CONTENDERS, args)
    args.out.mkdir(parents=True, exist_ok=True)
    paths, facts = args.results, args.facts
    if not paths:
        paths, facts = measure(args)
    write(args.out, read(paths), facts and json.loads(facts.read_text()))


def write(out: Path, results: dict, facts: dict | None) -> None:
    (out / "times.md").write_text(markdown(results))
    save(out / "times.json", results)
    plot(rows_of(results), out / "times.png")
    if facts:
        (out / "facts.md").write_text(peer_facts.markdown(facts))
        (out / "summary.md").write_text(summary(results, facts))
        (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    for path in sorted(out.iterdir()):
        print(path)


if __name__ == "__main__":
    main()
