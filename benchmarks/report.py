"""Run the DropBlock benchmark and the facts about other libraries, and write tables and a plot.

    python benchmarks/report.py --out docs/drop_block

Results that are already there are turned into tables without a run:

    python benchmarks/report.py results.json --facts facts.json --out docs/drop_block
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import peer_facts
import peers

HERE = Path(__file__).parent
PASSES = ["forward", "forward+backward"]


def run(folder: Path, threads: int, device: str) -> tuple[list[Path], Path]:
    """Measure now; some ten minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    suite = ["-m", "pytest", "-c", HERE / "pytest.ini", HERE / "test_drop_block.py", "-v"]
    suite += ["--threads", str(threads), "--device", device]
    paths = []
    for part, chosen in {"times": "not compiler", "compiler": "compiler"}.items():
        print(f"{part} ...", flush=True)
        paths.append(folder / f"{part}.json")
        command = [sys.executable, *suite, "-k", chosen, f"--benchmark-json={paths[-1]}"]
        subprocess.run(command, check=True)
    print("facts ...", flush=True)
    facts = folder / "facts.json"
    subprocess.run([sys.executable, HERE / "peer_facts.py", "--json", facts], check=True)
    return paths, facts


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(decimals, 4)}f}"


def environment(results: dict) -> str:
    machine = results["machine_info"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    missing = "".join(f" {reason}." for reason in machine["missing"])
    gpu = machine["gpu"] and f"{machine['gpu']}, "
    return (
        f"{gpu}{machine['cpu']['brand_raw']}, {machine['threads']} threads, Python "
        f"{machine['python_version']}, {versions}; {results['datetime'][:10]}.{missing}"
    )


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    align = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, align, *rows]) + "\n"


def shape_name(shape: list[int]) -> str:
    return " × ".join(map(str, shape))


def grid(rows: list[dict], passes: str, cell: Callable[[dict], str]) -> str:
    """A table with a row for each contender and a column for each shape."""
    rows = [row for row in rows if row["passes"] == passes]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    names = {row["name"]: row["mask"] for row in rows}
    found = {(row["name"], tuple(row["shape"])): row for row in rows}
    lines = []
    for name, mask in names.items():
        cells = [cell(found[name, s]) if (name, s) in found else "" for s in shapes]
        lines.append([name, mask, *cells])
    return table(["", "one mask for", *map(shape_name, shapes)], lines, left=2)


def ratio_cell(row: dict) -> str:
    low, high = row["ratio_quartiles"]
    return f"{significant(row['ratio'])} ({significant(low)}–{significant(high)})"


def sweep(rows: list[dict]) -> str:
    """Ours against the faster of the others at each block and rate."""
    rates = sorted({row["p"] for row in rows})
    blocks = sorted({row["block"] for row in rows})
    lines = []
    for block in blocks:
        line = [str(block)]
        for p in rates:
            here = [row for row in rows if row["block"] == block and row["p"] == p]
            best = min((r for r in here if not r["name"].startswith(peers.OURS)), key=ratio)
            own = next(row for row in here if row["name"] == peers.OURS)
            paper = next(row for row in here if row["name"] == f"{peers.OURS}, paper, batch")
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
    "torchattn_blocks": (peers.OURS, ""),
    "torchattn_blocks, paper, batch": (f"{peers.OURS}, paper, batch", ""),
    "torchvision": ("torchvision", ""),
    "timm": ("timm, couple_channels=False", ", `couple_channels=False`"),
    "dropblock": ("dropblock", ", one mask for all channels"),
}


def summary(results: dict, facts: dict) -> str:
    """What a reader wants to know first: kept fractions, float16, time and memory."""
    rows = [b["extra_info"] for b in results["benchmarks"]]
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
    header = ["block 7", "keeps of .85 on 7 × 7", "14 × 14", "592 × 592"]
    header += ["float16, mean of a million ones", f"time, {shape_name(first)}"]
    header += [f"time, {shape_name(small)}", f"bytes held, {shape_name(first)}"]
    return table(header, lines)


def losses(rows: list[dict]) -> list[str]:
    """Every place where a DropBlock with the same kind of mask is faster than ours."""
    lines = []
    for row in rows:
        if row["name"].startswith(peers.OURS) or row["mask"] not in (
            peers.PER_CHANNEL,
            peers.SHARED,
        ):
            continue
        shared = row["mask"] == peers.SHARED
        name = f"{peers.OURS}, channelwise=False" if shared else peers.OURS
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
    rows = [b["extra_info"] for b in results["benchmarks"]]
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
            f"**{passes}: time divided by that of `x * 2.`** (median of the rounds, and quartiles)",
            grid(level, passes, ratio_cell),
            f"**{passes}: milliseconds** (median)",
            grid(level, passes, lambda row: significant(row["seconds"] * 1e3)),
        ]
    parts += [
        "**Bytes held for the backward pass** (`x` and the output not counted)",
        grid(level, "forward+backward", lambda row: f"{row['bytes_held']:,}"),
    ]
    if swept:
        parts += [
            f"**Blocks and rates**, {shape_name(swept[0]['shape'])}, forward+backward, the fastest "
            "round divided by that of `x * 2.`: ours, ours with the paper's gamma and scale / "
            "the faster of torchvision (odd blocks only) and the textbook form",
            sweep(swept),
        ]
    for passes in PASSES if compiler else []:
        parts += [
            f"**Compiled, {passes}**: {peers.OURS} with `torch.compile` and without, in a process "
            "of its own",
            grid(compiler, passes, ratio_cell),
        ]
    slower = losses(rows)
    parts += [
        "**Where ours is slower** than another DropBlock with the same kind of mask:",
        "\n".join(slower) if slower else "nowhere in this run.",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


UNDRAWN = {"x * 2.", "F.dropout2d", "textbook, max-pooling"}


def plot(results: dict, path: Path) -> None:
    rows = [b["extra_info"] for b in results["benchmarks"]]
    level = [row for row in rows if row["table"] == "level" and row["name"] not in UNDRAWN]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    # One colour for each contender, in the order of the list, however many there are.
    names = dict.fromkeys(row["name"] for row in level)
    colours = {name: plt.get_cmap("tab20")(i) for i, name in enumerate(names)}
    for axis, passes in zip(axes, PASSES, strict=True):
        for name, colour in colours.items():
            mine = [r for r in level if r["name"] == name and r["passes"] == passes]
            mine.sort(key=lambda row: math.prod(row["shape"]))
            ours = name.startswith(peers.OURS)
            axis.plot(
                [math.prod(row["shape"]) for row in mine],
                [row["ratio"] for row in mine],
                marker="o" if ours else ".",
                linewidth=2.2 if ours else 1.1,
                color=colour,
                label=name,
            )
        axis.set(xscale="log", yscale="log", title=passes, xlabel="elements of the feature maps")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("time / time of x * 2.")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="*", type=Path, help="JSON of pytest-benchmark; of parts, if several"
    )
    parser.add_argument("--facts", type=Path, help="JSON of peer_facts.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plot")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="where to measure, for example cuda")
    parser.add_argument("--partial", action="store_true", help="go on though libraries are missing")
    args = parser.parse_args()
    if not args.results and peers.missing() and not args.partial:
        sys.exit("\n".join([*peers.missing(), "Install benchmarks/peers.txt, or add --partial."]))
    args.out.mkdir(parents=True, exist_ok=True)
    paths, facts = args.results, args.facts
    if not paths:
        paths, facts = run(Path("runs/drop_block"), args.threads, args.device)
    results, *others = (json.loads(path.read_text()) for path in paths)
    for other in others:
        if environment(other) != environment(results):
            sys.exit("These results are not of the same machine, versions, threads and day.")
        results["benchmarks"] += other["benchmarks"]
    write(args.out, results, facts and json.loads(facts.read_text()))


def write(out: Path, results: dict, facts: dict | None) -> None:
    (out / "times.md").write_text(markdown(results))
    # What the tables were made of, without the machine's details that nobody needs.
    slim = {
        "environment": environment(results),
        "rows": [b["extra_info"] for b in results["benchmarks"]],
    }
    (out / "times.json").write_text(json.dumps(slim, indent=1) + "\n")
    plot(results, out / "times.png")
    if facts:
        (out / "facts.md").write_text(peer_facts.markdown(facts))
        (out / "summary.md").write_text(summary(results, facts))
        (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    for path in sorted(out.iterdir()):
        print(path)


if __name__ == "__main__":
    main()
