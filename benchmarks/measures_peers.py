"""What other packages measure on drawn vessels of known geometry.

In an environment with one of them, of the versions that docs/next.md names, and SciPy::

    python benchmarks/measures_peers.py skan    # or pvbm, vascx, ours

prints a table in Markdown. ``--maps maps`` prints a row of CSV for each image of a folder with
``vessels/`` and ``fov/`` instead, as ``torchattn-retina segment --layout folders`` writes them.
"""

import argparse
import csv
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.morphology import skeletonize

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "retina"))
from drawn_vessels import arc, bar, tree

ANGLES = (0, 10, 22.5, 30, 45, 60, 90)


def skan(mask, fov):
    """Zhang's skeleton, which is scikit-image's default, and skan's summary of its branches."""
    from skan import Skeleton, summarize

    pixels = skeletonize(mask)
    traced = Skeleton(pixels)
    table = summarize(traced, separator="_")
    length = table.branch_distance.sum()
    return {
        "density": mask.sum() / fov.sum(),
        "length": length,
        "width": mask.sum() / length,
        "segments": len(table),
        "branch points": int((traced.degrees > 2).sum()),
        "end points": int((traced.degrees == 1).sum()),
        "tortuosity": (table.branch_distance / table.euclidean_distance).median(),
    }


def pvbm(mask, fov):
    """The class that takes a mask alone; the newer one also wants the optic disc."""
    from PVBM.FractalAnalysis import MultifractalVBMs
    from PVBM.GeometricalAnalysis import GeometricalVBMs

    geometry = GeometricalVBMs()
    pixels = skeletonize(mask).astype(int)
    tortuosity, length, *_ = geometry.compute_tortuosity_length(pixels)
    ends, branches, *_ = geometry.compute_particular_points(pixels)
    fractals = MultifractalVBMs(n_rotations=1, optimize=False)
    return {
        "density": geometry.area(mask.astype(int)) / fov.sum(),
        "length": length,
        "branch points": int(branches),
        "end points": int(ends),
        "tortuosity": tortuosity,
        "fractal dimension": fractals.compute_multifractals(mask.astype(float))[0],
    }


def vascx(mask, fov):
    """A retina with vessels alone, in the middle of VascX's square of 1024 pixels."""
    from vascx.fundus.features.caliber import Caliber
    from vascx.fundus.features.tortuosity import Tortuosity
    from vascx.fundus.features.vascular_densities import VascularDensity
    from vascx.fundus.retina import Retina

    rows, columns = (1024 - side for side in mask.shape)
    margins = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vessels.png")
        Image.fromarray(np.pad(mask, margins).astype(np.uint8) * 255).save(path)
        retina = Retina.from_file(vessels_path=str(path), roi_mask=np.pad(fov, margins))
    vessels = retina.vessels
    return {
        "density": VascularDensity().compute(vessels),
        "width": Caliber().compute(vessels),
        "segments": len(vessels.undirected_segments),
        "tortuosity": Tortuosity().compute(vessels),
    }


def ours(mask, fov):
    from torchattn_blocks.retina import measure_vessels

    measures = measure_vessels(mask, fov)
    names = {"width": "median_width", "fractal dimension": "fractal_dimension"}
    names |= {"branch points": "branch_points", "end points": "end_points"}
    plain = ("density", "length", "segments", "tortuosity")
    return {name: getattr(measures, name) for name in plain} | {
        name: getattr(measures, attribute) for name, attribute in names.items()
    }


PACKAGES = {"skan": skan, "pvbm": pvbm, "vascx": vascx, "ours": ours}
NAMES = {"pvbm": "PVBM", "vascx": "retinalysis-vascx", "ours": "torchattn_blocks"}


def drawn_rows(measure):
    """What was drawn, a measure, what is true and what was found: the least and the most."""

    def found(name, masks):
        values = []
        for mask in masks:
            try:
                value = measure(mask, np.ones_like(mask)).get(name)
            except (ValueError, RecursionError, IndexError, AssertionError) as error:
                return type(error).__name__
            values.append(np.nan if value is None else float(value))
        if all(np.isnan(values)):
            return "–"
        low, high = np.nanmin(values), np.nanmax(values)
        return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"

    for width in (1, 3, 5, 9, 35):
        bars = [bar(width, angle) for angle in ANGLES]
        what = f"bars of 150 by {width} px, 7 angles"
        yield what, "length", 150, found("length", bars)
        yield what, "width", width, found("width", bars)
        yield what, "tortuosity", 1, found("tortuosity", bars)
    for width in (3, 5):
        half = [arc(width, 60)]
        what = f"half circle of radius 60, {width} px wide"
        yield what, "tortuosity", "1.571", found("tortuosity", half)
        yield what, "length", "188.5", found("length", half)
    ring = [arc(5, 60, 360)]
    yield "ring of radius 60, 5 px wide", "length", "377", found("length", ring)
    for width in (1.6, 5, 9):
        mask, length = tree(width)
        what = f"tree, {width} px wide"
        for name, true in (
            ("length", f"{length:.0f}"),
            ("segments", 15),
            ("branch points", 7),
            ("end points", 9),
        ):
            yield what, name, true, found(name, [mask])
    line, square = np.zeros((256, 256), bool), np.ones((256, 256), bool)
    line[100] = True
    square[0, 0] = False  # PVBM wants both values
    yield "line of 256 px", "fractal dimension", 1, found("fractal dimension", [line])
    yield "square of 256 px", "fractal dimension", 2, found("fractal dimension", [square])


def maps_rows(measure, folder):
    for path in sorted((folder / "vessels").iterdir()):
        mask, fov = (np.array(Image.open(folder / k / path.name)) > 0 for k in ("vessels", "fov"))
        yield {"image": path.stem} | measure(mask & fov, fov)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--maps", type=Path)
    given = parser.parse_args()
    measure = PACKAGES[given.package]
    warnings.simplefilter("ignore")
    if given.maps:
        rows = list(maps_rows(measure, given.maps))
        table = csv.DictWriter(sys.stdout, rows[0])
        table.writeheader()
        table.writerows(rows)
        return
    name = NAMES.get(given.package, given.package)
    print(f"| drawn | measure | true | {name} {version(name)} |\n| --- | --- | ---: | ---: |")
    for cells in drawn_rows(measure):
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
