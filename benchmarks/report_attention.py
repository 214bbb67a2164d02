"""Run the benchmark of the attention layers, and write tables and a plot.

    python benchmarks/report_attention.py --out docs/attention

Results that are already there are turned into tables without a run:

    python benchmarks/report_attention.py results.json --out docs/attention
"""

from collections.abc import Callable
from inspect import signature
from pathlib import Path

import matplotlib.pyplot as plt
from attention_peers import CONTENDERS, GATE, parameters
from measure import PASSES
from plots import draw, legend_of, styles
from results import options, read, refuse_without, rows_of, run, save
from tables import environment, grid, of_passes, ratio_cell, shape_name, significant, table

import torchattn_blocks as ours

TRAINING = "forward+backward"
SUMMARY = _, SMALL = (2, 16, 592, 592), (8, 64, 56, 56)


def title(own: dict) -> str:
    return own["kind"] + ", batch norm" * own["norm"]


WHICH = {  # the layer, what it sees, and what its paper reports
    "Spatial attention": (
        "SpatialAttention",
        "7 x 7 positions around its own",
        "F1 on DRIVE .8110 to .8222, RSAN without and with it (RSAN paper)",
    ),
    "Channel attention": (
        "ChannelAttention",
        "all positions of all channels, their maxima most",
        "none of its own, see CBAM",
    ),
    "CBAM": (
        "CBAM",
        "all positions, and 7 x 7 around its own",
        "ImageNet top-1 error of ResNet-50 24.56 to 22.66 %",
    ),
    "Squeeze-and-excitation": (
        "SqueezeExcite",
        "all positions of all channels alike",
        "ImageNet top-1 error of ResNet-50 24.80 to 23.29 %",
    ),
    "Efficient channel attention": (
        "EfficientChannelAttention",
        "all positions alike, of 1 to 7 channels that are neighbours",
        "ImageNet top-1 accuracy of ResNet-50 75.20 to 77.48 %",
    ),
    "scSE": (
        "ConcurrentSqueezeExcite",
        "all positions alike, and its own",
        "better Dice for three networks on MRI and CT",
    ),
    "Global context, add": (
        "GlobalContext",
        "all positions, weighted; one change for all of them",
        "COCO box AP of Mask R-CNN with ResNet-50 37.2 to 39.4 (authors' code, reduction 16)",
    ),
    "Coordinate attention": (
        "CoordinateAttention",
        "its row and its column",
        "ImageNet top-1 accuracy of MobileNetV2 72.3 to 74.3 %",
    ),
    "Triplet attention": (
        "TripletAttention",
        "7 x 7 positions of all channels; 7 whole rows and columns, of its 7 nearest channels",
        "ImageNet top-1 accuracy of ResNet-50 75.44 to 77.48 %",
    ),
    "BAM": (
        "BAM",
        "all positions alike, and 25 spread over 17 x 17",
        "ImageNet top-1 error of ResNet-50 24.56 to 24.02 %",
    ),
    "SimAM": (
        "SimAM",
        "itself, and mean and variance of its channel",
        "ImageNet top-1 accuracy of ResNet-50 76.34 to 77.45 %",
    ),
    GATE: (
        "AttentionGate",
        "its own position, and that of the gate",
        "Dice of the pancreas in CT-150 .814 to .840, U-Net without and with them",
    ),
}


def which(results: dict) -> str:
    """What to know to choose a layer."""
    rows = of_passes(rows_of(results), TRAINING)
    time = {
        row["kind"]: significant(row["ratio"])
        for row in rows
        if row["ours"] and not row["norm"] and tuple(row["shape"]) == SMALL
    }
    lines = []
    for kind, (name, sees, claim) in WHICH.items():
        layer = getattr(ours, name)
        takes = {"AttentionGate": (64, 64)}.get(name, (64,) if takes_channels(layer) else ())
        lines.append([f"`{name}`", sees, claim, f"{parameters(layer(*takes)):,}", time[kind]])
    header = ["", "a weight sees", "the paper's gain", "parameters, C = 64", "time"]
    return table(header, lines, left=3)


def takes_channels(layer: type) -> bool:
    return "channels" in signature(layer).parameters


def others(own: dict, rows: list[dict]) -> list[dict]:
    """What one of our layers is compared with: those that do the same, or batch norm besides."""
    same = [row for row in rows if all(row[key] == own[key] for key in ("kind", "passes", "shape"))]
    return [row for row in same if not row["ours"] and row["norm"] >= own["norm"]]


def beside_fastest(rows: list[dict]) -> str:
    """Our time divided by the time of the fastest other."""
    lines = []
    for own in rows:
        if own["ours"]:
            other = min(others(own, rows), key=lambda row: row["ratio"])
            quotient = significant(own["ratio"] / other["ratio"])
            lines.append(own | {"name": title(own), "beside": f"{quotient} {other['name']}"})
    return grid(lines, lambda line: line["beside"])


def losses(rows: list[dict], key: str) -> str:
    """Every place where another takes less than ours, a line each."""
    lines = [
        f"- {own['kind']}, {shape_name(own['shape'])}, {own['passes']}: {other['name']} "
        f"{significant(other[key])}, {own['name']} {significant(own[key])}"
        for own in rows
        if own["ours"]
        for other in others(own, rows)
        if other[key] < own[key] and significant(other[key]) != significant(own[key])
    ]
    return "\n".join(lines) or "Nowhere in this run."


def or_fails(cell: Callable[[dict], str]) -> Callable[[dict], str]:
    return lambda row: "fails" if "failure" in row else cell(row)


def section(kind: str, rows: list[dict]) -> list[str]:
    """The tables of one kind of layer."""
    rows = [row for row in rows if row["kind"] == kind]
    training = of_passes(rows, TRAINING)
    parts = [f"### {kind}"]
    for passes in PASSES:
        parts += [f"**{passes}**", grid(of_passes(rows, passes), or_fails(ratio_cell))]
    parts += [
        "**Bytes held for the backward pass**, divided by the bytes of `x`",
        grid(training, or_fails(lambda row: significant(row["held"]))),
        "**Parameters**",
        grid(training, or_fails(lambda row: f"{row['parameters']:,}")),
    ]
    return parts + [
        f"{row['name']} fails with {row['shape'][1]} channels: `{row['failure']}`"
        for row in training
        if "failure" in row
    ]


def markdown(results: dict) -> str:
    rows = rows_of(results)
    parts = [
        "<!-- Written by benchmarks/report_attention.py -->",
        f"float32. {environment(results)}",
        "Times are divided by the time of `x * 2.`: the median of the rounds, and quartiles.",
        "### Ours beside the fastest other",
        "Our time divided by the time of the fastest other, and its name: below 1 ours is "
        "faster. Others do the same as ours, or add batch normalisation.",
    ]
    for passes in PASSES:
        parts += [f"**{passes}**", beside_fastest(of_passes(rows, passes))]
    parts += ["### Where others are faster", losses(rows, "ratio")]
    parts += ["### Where others hold fewer bytes", losses(of_passes(rows, TRAINING), "held")]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        parts += section(kind, rows + results["failures"])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def named(own: dict, rows: list[dict], cell: Callable[[dict], str]) -> str:
    """One figure of each other library: of its layer that does the same, if it has one."""
    found = {}
    for row in sorted(others(own, rows), key=lambda row: row["norm"] == own["norm"]):
        found[row["name"].split(",")[0]] = row
    return "; ".join(
        f"{name if row['norm'] == own['norm'] else row['name']} {cell(row)}"
        for name, row in found.items()
    )


def summary(results: dict) -> str:
    """What a reader wants to know first: parameters, and time in training."""
    rows = of_passes(rows_of(results), TRAINING)
    header, lines = [""], {}
    columns = [
        ("parameters, C = 64", SMALL, lambda row: f"{row['parameters']:,}"),
        *((f"time, {shape_name(s)}", s, lambda row: significant(row["ratio"])) for s in SUMMARY),
    ]
    for heading, shape, cell in columns:
        measured = [row for row in rows if row["ours"] and tuple(row["shape"]) == shape]
        header += [heading, "others"] if measured else []
        for own in measured:
            lines.setdefault(title(own), []).extend([cell(own), named(own, rows, cell)])
    return table(header, [[name, *line] for name, line in lines.items()])


def plot(rows: list[dict], path: Path) -> None:
    """A panel for each kind of layer."""
    rows = of_passes(rows, TRAINING)
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    style = styles(row["name"] for row in rows)
    figure, axes = plt.subplots(4, 4, figsize=(15, 14), sharey=True, layout="constrained")
    for axis, kind in zip(axes.flat, kinds, strict=False):
        draw(axis, [row for row in rows if row["kind"] == kind], kind, style)
    for axis in axes.flat[len(kinds) :]:
        axis.axis("off")
    axes[-1, -1].legend(**legend_of(figure, style), loc="center")
    figure.supylabel(f"time / time of x * 2., {TRAINING}")
    figure.savefig(path, dpi=110)


def main() -> None:
    args = options(__doc__).parse_args()
    refuse_without(CONTENDERS, args)
    args.out.mkdir(parents=True, exist_ok=True)
    paths = args.results or [run("test_attention.py", Path("runs/attention/times.json"), args)]
    results = read(paths)
    (args.out / "times.md").write_text(markdown(results))
    (args.out / "summary.md").write_text(summary(results))
    (args.out / "which.md").write_text(which(results))
    save(args.out / "times.json", results, failures=results["failures"])
    plot(rows_of(results), args.out / "times.png")
    for path in sorted(args.out.iterdir()):
        print(path)


if __name__ == "__main__":
    main()
