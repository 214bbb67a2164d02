"""The command ``compare``."""

import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ._folder import check_folder
from ._measuring import check_measuring, found_masks, measure_files

if TYPE_CHECKING:
    from ..measures.columns import Measure
    from ..measures.reliability import Agreement
    from ..measures.rows import Rows
    from ..measures.values import VesselMeasures

_SIMILAR = 1.05  # above this ratio of diameters, images count as different in size
_WITHOUT_PANEL = "branch_points"  # it follows the segments and the end points
_HEAD = ["measure", "n", "left_out", "mean_a", "mean_b", "mean_difference"]
_HEAD += ["sd_difference", "lower", "upper", "icc"]


@dataclass(frozen=True)
class Compare:
    """Compare two sets of vessel measures of the same images, from two programs or observers.

    For each measure, prints the mean difference (A minus B), the limits between which about 95 % of
    the differences lie, and the intraclass correlation ICC(2,1). Pairs images by their names. If a
    mask cannot be read, goes on with the others. Writes to the folder --out: agreement.csv, which
    has every unit of length; pairs.csv, with the measures of both sets in one row; and
    bland_altman.png, a plot of differences against means.
    """

    a: Annotated[Positional[Path], arg(metavar="A")]
    """A CSV file that measure wrote, another one with a column image and columns of the same names,
    or a folder of vessel masks."""
    b: Annotated[Positional[Path], arg(metavar="B")]
    """The same for the other set."""
    fov: Path | None = None
    """Folder of fields of view, if A or B is a folder of vessel masks: as in measure."""
    out: Path = Path("runs/compare")
    """Folder to write to."""

    def __call__(self) -> None:
        """Run the command."""
        check_folder("--out", self.out)
        if self.fov is not None and not (self.a.is_dir() or self.b.is_dir()):
            raise ValueError(
                f"--fov is for folders of vessel masks, got {self.fov} with {self.a} and {self.b}"
            )
        for path in (self.a, self.b):
            if path.is_dir():
                check_measuring("compare", None)
            elif not path.exists():
                raise FileNotFoundError(f"{path}: no such CSV file or folder")
        failures: list[str] = []
        first, second = (self._rows(path, failures) for path in (self.a, self.b))
        self._compare(first, second)
        if failures:
            masks = "1 mask" if len(failures) == 1 else f"{len(failures)} masks"
            raise ValueError(f"{masks} could not be measured, see above")

    def _compare(self, first: "Rows", second: "Rows") -> None:
        """Print and write how well two sets of measures agree."""
        from ..measures.columns import COLUMNS, SIZE, one_unit
        from ..measures.reliability import agreement

        pairs = self._pairs(first, second)
        numbers = {
            column: (
                [first[one][column] for one, _ in pairs],
                [second[other][column] for _, other in pairs],
            )
            for column in (*COLUMNS, SIZE)
            if column in _columns(first) and column in _columns(second)
        }
        sizes = numbers.pop(SIZE, ([], []))
        if not numbers:
            raise ValueError(f"{self.a} and {self.b} have no measure in common")
        same_size = bool(sizes[0]) and all(
            one <= _SIMILAR * other and other <= _SIMILAR * one
            for one, other in zip(*sizes, strict=True)
        )
        shown = one_unit(numbers, same_size=same_size)
        self._remark(first, second, shown, sizes, same_size=same_size)
        results = {column: agreement(*two) for column, two in numbers.items()}
        panels = {
            title: numbers[column]
            for column, (measure, title) in shown.items()
            if measure.name != _WITHOUT_PANEL
        }
        self._write(pairs, numbers, results, panels)
        print(_table({title: results[column] for column, (_, title) in shown.items()}))
        print(f"Saved tables and figure in {self.out}")

    def _remark(
        self,
        first: "Rows",
        second: "Rows",
        shown: "dict[str, tuple[Measure, str]]",
        sizes: tuple[list[float], list[float]],
        *,
        same_size: bool,
    ) -> None:
        """Print what a user should know about image sizes and missing measures."""
        from ..measures.columns import MEASURES

        there = {measure.name for measure, _ in shown.values()}
        for path, rows in ((self.a, first), (self.b, second)):
            missing = [
                measure.title
                for measure in MEASURES
                if measure.name not in there and {*measure.columns()} & _columns(rows)
            ]
            if missing:
                print(f"Left out: {', '.join(missing)} (only in {path}, or in other units)")
        in_pixels = any(column.endswith("_px") for column in shown)
        if not same_size and (said := _on_sizes(sizes, in_pixels=in_pixels)):
            print(said)

    def _rows(self, path: Path, failures: list[str]) -> "Rows":
        """Read measures from a file, or measure masks in a folder. Prints and adds failures."""
        if not path.is_dir():
            from ..measures.rows import read_rows

            return read_rows(path)
        measures: dict[str, VesselMeasures] = {}
        failed = measure_files(found_masks(path, self.fov), measures)
        for failure in failed:
            print(f"Left out: {failure}")
        failures += failed
        if not measures:
            raise ValueError(f"{path}: none of its {len(failed)} masks could be measured")
        return {name: dict(one.row()) for name, one in measures.items()}

    def _pairs(self, first: "Rows", second: "Rows") -> list[tuple[str, str]]:
        """The images in both sets. Names are printed if they differ in a pair or are left out."""
        from ..data.pairs import pair_images, stem_of
        from ..data.search import listing

        pairs = pair_images(first, second, (str(self.a), str(self.b)))
        if len(pairs) < 2:
            raise ValueError(
                f"{self.a} and {self.b} must have at least 2 images in common, got "
                f"{len(pairs)}; they have {listing([*first])} and {listing([*second])}"
            )
        if similar := [
            f"{one} with {other}"
            for one, other in pairs
            if stem_of(one).casefold() != stem_of(other).casefold()
        ]:
            print(f"Paired by similar names: {listing(similar)}")
        alone = [
            f"{listing(names)} (only in {path})"
            for path, every, paired in zip(
                (self.a, self.b), (first, second), zip(*pairs, strict=True), strict=True
            )
            if (names := [name for name in every if name not in paired])
        ]
        if alone:
            print(f"Left out: {'; '.join(alone)}")
        return pairs

    def _write(
        self,
        pairs: list[tuple[str, str]],
        numbers: dict[str, tuple[list[float], list[float]]],
        results: "dict[str, Agreement]",
        panels: dict[str, tuple[list[float], list[float]]],
    ) -> None:
        """Write the tables and the figure."""
        from ..measures.bland_altman import save_bland_altman
        from ..write import cell_text, csv_text, write_whole

        self.out.mkdir(parents=True, exist_ok=True)
        text = csv_text(
            _HEAD, ([column, *map(cell_text, astuple(one))] for column, one in results.items())
        )
        write_whole(self.out / "agreement.csv", text.encode())
        head = ["image_a", "image_b", *(f"{column}_{set_}" for column in numbers for set_ in "ab")]
        cells = zip(
            *(map(cell_text, of_set) for two in numbers.values() for of_set in two), strict=True
        )
        rows = ([*pair, *row] for pair, row in zip(pairs, cells, strict=True))
        write_whole(self.out / "pairs.csv", csv_text(head, rows).encode())
        labels = (self.a.stem, self.b.stem)
        if labels[0] == labels[1]:
            labels = (str(self.a), str(self.b))
        save_bland_altman(self.out / "bland_altman.png", panels, labels)


def _on_sizes(sizes: tuple[list[float], list[float]], *, in_pixels: bool) -> str:
    """What it means for lengths if the diameters of the fields of view differ or are unknown."""
    if not sizes[0] or any(map(math.isnan, (*sizes[0], *sizes[1]))):
        if not in_pixels:
            return ""
        return (
            "Not all diameters of fields of view are known: lengths are in pixels, and can be "
            "compared if the images are of the same size."
        )
    means = " and ".join(f"{sum(of_set) / len(of_set):.0f}" for of_set in sizes)
    said = f"The fields of view of the two sets differ in diameter, {means} pixels on average"
    if in_pixels:
        return f"{said}. Lengths are in pixels: those of the two sets cannot be compared."
    return (
        f"{said}. Lengths are in diameters. If the images are of the same size, the two sets "
        "measure different parts of them."
    )


def _columns(rows: "Rows") -> set[str]:
    """The columns of a table."""
    return {*next(iter(rows.values()))}


def _table(results: "dict[str, Agreement]") -> str:
    """The results by the titles of measures."""
    from ..evaluation.tables import aligned

    rows = [["", "n", "mean A", "mean B", "A − B", "limits of agreement", "ICC"]]
    for title, one in results.items():
        means = map(_short, (one.mean_first, one.mean_second, one.mean_difference))
        limits = "–" if math.isnan(one.lower) else f"{_short(one.lower)} to {_short(one.upper)}"
        icc = "–" if math.isnan(one.icc) else f"{one.icc:.3f}"
        rows.append([title, str(one.count), *means, limits, icc])
    return aligned(rows)


def _short(number: float) -> str:
    """Four significant digits."""
    return "–" if math.isnan(number) else f"{number:.4g}"
