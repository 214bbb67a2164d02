"""The command `compare`, and what it reads, pairs and writes."""

import csv
import re

import numpy as np
import pytest
from drawn_vessels import bar
from PIL import Image

from torchattn_blocks.retina import agreement
from torchattn_blocks.retina.data.pairs import pair_images
from torchattn_blocks.retina.measures.bland_altman import save_bland_altman
from torchattn_blocks.retina.measures.columns import COLUMNS, MEASURES, SIZE
from torchattn_blocks.retina.measures.rows import read_rows
from torchattn_blocks.retina.measures.values import VesselMeasures

MEASURED = VesselMeasures(
    density=0.12,
    length=9000.0,
    mean_width=7.5,
    median_width=7.0,
    segments=200,
    branch_points=110,
    end_points=90,
    tortuosity=1.1,
    curvature=0.02,
    fractal_dimension=1.6,
    fractal_r2=0.999,
    fractal_sizes=(4, 128),
    fov_diameter=540,
    fov_share=0.69,
    speck_share=0.01,
)


def measured(scale, fov_diameter=540):
    """Measures of an image on which all is as much larger."""
    values = vars(MEASURED) | {"density": 0.12 * scale, "length": 9000 * scale}
    return VesselMeasures(**values | {"fov_diameter": fov_diameter})


def write(path, rows):
    """A table as `measure` writes it: rows by the names of images."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", *next(iter(rows.values()))])
        writer.writeheader()
        writer.writerows({"image": name, **row} for name, row in rows.items())
    return path


@pytest.fixture
def tables(tmp_path):
    """Two tables of three images, and an image in each of them alone."""
    first, second = (1.0, 1.2, 1.1), (0.9, 1.2, 1.3)
    a = {f"eye{n}.png": measured(scale).row() for n, scale in enumerate(first)}
    b = {f"EYE{n}": measured(scale).row() for n, scale in enumerate(second)}
    return (
        write(tmp_path / "a.csv", a | {"alone": measured(1).row()}),
        write(tmp_path / "b.csv", b | {"other": measured(1).row()}),
    )


def results(out):
    with (out / "agreement.csv").open(newline="") as file:
        return {row["measure"]: row for row in csv.DictReader(file)}


def test_every_measure_is_compared_in_every_unit(command, tables, tmp_path):
    out = command("compare", *tables, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "agreement.csv",
        "pairs.csv",
        "bland_altman.png",
    }
    with (tmp_path / "out" / "pairs.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["image_a"], row["image_b"]) for row in rows] == [
        (f"eye{n}.png", f"EYE{n}") for n in range(3)
    ]
    assert [float(row["density_a"]) for row in rows] == [0.12, 0.144, 0.132]
    assert [float(row["length_px_b"]) for row in rows] == [8100, 10800, 11700]
    assert len(rows[0]) == 2 + 2 * len(results(tmp_path / "out"))
    expected = agreement([1080, 1296, 1188], [972, 1296, 1404])  # lengths, by 0.12
    found = results(tmp_path / "out")
    assert [*found] == [column for column in COLUMNS if not column.endswith("_um")]
    for column, unit in (("length_px", 0.12), ("length_fov", 0.12 * 540)):
        row = {name: float(value) for name, value in found[column].items() if name != "measure"}
        assert (row.pop("n"), row.pop("left_out"), row.pop("icc")) == (
            3,
            0,
            pytest.approx(expected.icc, rel=1e-5),
        )
        assert row == {
            "mean_a": pytest.approx(expected.mean_first / unit, rel=1e-5),
            "mean_b": pytest.approx(expected.mean_second / unit, rel=1e-5),
            "mean_difference": pytest.approx(expected.mean_difference / unit, rel=1e-5),
            "sd_difference": pytest.approx(expected.sd_difference / unit, rel=1e-5),
            "lower": pytest.approx(expected.lower / unit, rel=1e-5),
            "upper": pytest.approx(expected.upper / unit, rel=1e-5),
        }
    assert found["segments"]["icc"] == ""
    assert "Left out: alone (only in " in out
    assert re.search(r"; other \(only in \S*b\.csv\)$", out, re.MULTILINE)
    titles = re.findall(r"^\| (\S.*?) +\|", out, re.MULTILINE)
    assert titles == [
        "density",
        "length (px)",
        "mean width (px)",
        "median width (px)",
        "segments",
        "branch points",
        "end points",
        "tortuosity",
        "curvature (1/px)",
        "fractal dimension",
    ]
    assert re.search(r"\| length \(px\) +\| +3 \| +9900 \| +1.02e\+04 \| +-300 \|", out)
    assert re.search(r"\| segments +\| +3 \| +200 \| +200 \| +0 \| +0 to 0 \| +– \|", out)


def test_images_of_other_sizes_are_compared_in_diameters(command, tmp_path):
    a = {f"{n}": measured(1).row(um_per_pixel=20) for n in range(3)}
    b = {f"{n}": measured(2, 1080).row() for n in range(3)}
    tables = write(tmp_path / "a.csv", a), write(tmp_path / "b.csv", b)
    out = command("compare", *tables, "--out", tmp_path / "out")
    assert "differ in diameter, 540 and 1080 pixels on average. Lengths are in diameters." in out
    assert re.search(r"\| length \(FOV diameters\) +\| +3 \| +16.67 \| +16.67 \|", out)
    assert "curvature (1/FOV diameter)" in out
    assert not {"length_um"} & {*results(tmp_path / "out")}  # A alone has it
    b = {f"{n}": measured(2, 550).row() for n in range(3)}  # an estimate that is a little off
    write(tmp_path / "b.csv", b)
    said = command("compare", *tables, "--out", tmp_path / "out")
    assert "length (px)" in said
    assert "differ in diameter" not in said
    write(tmp_path / "b.csv", {f"{n}": measured(2, 580).row() for n in range(3)})
    assert "differ in diameter" in command("compare", *tables, "--out", tmp_path / "out")


def test_without_diameters_lengths_are_compared_in_diameters_if_they_can(command, tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    head = "image,length_px,length_um,length_fov"
    a.write_text(f"{head},fov_diameter_px\n1,100,5,.2,540\n2,200,6,.4,\n")
    b.write_text(f"{head},fov_diameter_px\n1,200,4,.2,540\n2,400,4,.4,540\n")
    out = command("compare", a, b, "--out", tmp_path / "out")
    assert "length (FOV diameters)" in out
    assert "diameters of fields" not in out
    assert "length (FOV diameters)" in command("compare", b, a, "--out", tmp_path / "out")
    a.write_text("image,length_px\n1,100\n2,200\n")
    out = command("compare", a, b, "--out", tmp_path / "out")
    assert "Not all diameters of fields of view are known: lengths are in pixels" in out
    assert "length (px)" in out
    assert "Left out" not in out
    a.write_text("image,density,length_um,tortuosity\n1,.1,5,1\n2,.2,6,1\n")
    b.write_text("image,density,length_px\n1,.1,5\n2,.2,6\n")
    out = command("compare", a, b, "--out", tmp_path / "out")
    assert f"Left out: length, tortuosity (only in {a}, or in other units)" in out
    assert f"Left out: length (only in {b}, or in other units)" in out
    assert "Lengths are in" not in out
    assert "of fields of view" not in out


def test_lengths_of_images_of_other_sizes_in_pixels_alone_are_not_to_be_compared(command, tmp_path):
    for name, size in (("a", 540), ("b", 1080)):
        rows = "".join(f"{n},.1,{7 * size},{size}\n" for n in range(3))
        (tmp_path / f"{name}.csv").write_text(f"image,density,length_px,fov_diameter_px\n{rows}")
    tables = tmp_path / "a.csv", tmp_path / "b.csv"
    said = command("compare", *tables, "--out", tmp_path / "out")
    assert "Lengths are in pixels: those of the two sets cannot be compared." in said
    for name, size in (("a", 540), ("b", 1080)):
        (tmp_path / f"{name}.csv").write_text(
            f"image,density,fov_diameter_px\n1,.1,{size}\n2,.2,{size}\n"
        )
    assert "measure different parts" in command("compare", *tables, "--out", tmp_path / "out")


def test_the_figure_has_a_panel_for_each_measure_but_the_branch_points(
    command, tables, tmp_path, monkeypatch
):
    figures = []
    written = "torchattn_blocks.retina.measures.bland_altman.write_figure"
    monkeypatch.setattr(written, lambda path, figure: figures.append(figure))
    command("compare", *tables, "--out", tmp_path / "out")
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == [
        "density",
        "length (px)",
        "mean width (px)",
        "median width (px)",
        "segments",
        "end points",
        "tortuosity",
        "curvature (1/px)",
        "fractal dimension",
    ]
    points = figures[0].axes[0].get_lines()[0].get_xydata()
    np.testing.assert_allclose(points, [[0.114, 0.012], [0.144, 0], [0.144, -0.024]], atol=1e-12)
    assert figures[0].get_suptitle() == "a − b"
    (tmp_path / "more").mkdir()
    other = tables[1].rename(tmp_path / "more" / "a.csv")
    command("compare", tables[0], other, "--out", tmp_path / "out")
    assert "".join(figures[1].get_suptitle().split()) == f"{tables[0]}−{other}"


def test_tables_of_other_programs_are_read(command, tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("Image, Density,camera,LENGTH_PX\n1,.1,old,\n2,.2,new,NA\n3,.3,new,5\n")
    b.write_bytes(
        "density,image,length_px\r\n.1,3,6\r\n0.2,2,n/a\r\n , \r\n.4,1\r\n".encode("utf-8-sig")
    )
    out = command("compare", a, b, "--out", tmp_path / "out")
    found = results(tmp_path / "out")
    assert [*found] == ["density", "length_px"]
    assert float(found["density"]["mean_b"]) == pytest.approx(0.7 / 3, rel=1e-5)
    assert (found["length_px"]["n"], found["length_px"]["left_out"]) == ("1", "2")
    assert re.search(r"\| length \(px\) +\| +1 \| +5 \| +6 \| +-1 \| +– \| +– \|", out)


def test_folders_of_masks_are_measured(command, tmp_path, capsys):
    for folder in ("masks", "others", "fovs"):
        (tmp_path / folder).mkdir()
    row, column = np.ogrid[:200, :200]
    fov = (row - 100) ** 2 + (column - 100) ** 2 <= 90**2
    for number, angle in enumerate((10, 30, 60)):
        Image.fromarray(bar(3, angle)).save(tmp_path / "masks" / f"eye{number}.png")
        Image.fromarray(bar(5, angle)).save(tmp_path / "others" / f"eye{number}.gif")
        Image.fromarray(fov).save(tmp_path / "fovs" / f"eye{number}.png")
    masks, others, fovs = (tmp_path / name for name in ("masks", "others", "fovs"))
    said = command("compare", masks, others, "--fov", fovs, "--out", tmp_path / "folders")
    assert "No fields of view" not in said
    for folder in (masks, others):
        command("measure", folder, "--fov", fovs, "--out", tmp_path / f"of-{folder.name}")
    tables = [tmp_path / f"of-{folder.name}" / "measures.csv" for folder in (masks, others)]
    command("compare", *tables, "--out", tmp_path / "files")
    found, expected = (results(tmp_path / name) for name in ("folders", "files"))
    assert found.keys() == expected.keys()
    for column in expected:
        assert float(found[column]["mean_a"]) == pytest.approx(
            float(expected[column]["mean_a"]), rel=1e-4, abs=1e-4, nan_ok=True
        )
    said = command("compare", masks, others, "--out", tmp_path / "whole")
    assert f"No fields of view found: the whole images of {masks} are measured." in said
    (masks / "eye0.png").write_bytes(b"GIF89a")
    table = tmp_path / "of-others" / "measures.csv"
    with pytest.raises(SystemExit, match=r"^error: 1 mask could not be measured, see above"):
        command("compare", masks, table, "--fov", fovs, "--out", tmp_path / "whole")
    assert re.search(rf"^Left out: {masks / 'eye0.png'}", capsys.readouterr().out, re.MULTILINE)
    assert results(tmp_path / "whole")["density"]["n"] == "2"
    for path in others.iterdir():
        path.write_bytes(b"GIF89a")
    with pytest.raises(SystemExit, match=f"error: {others}: none of its 3 masks could be measured"):
        command("compare", masks, others, "--out", tmp_path / "whole")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["21_manual1", "22_manual1"], ["22_training", "21_training"], {0: 1, 1: 0}),
        (["im0001.ah.ppm", "im0002.ah.ppm"], ["IM0002.png", "IM0001.png"], {0: 1, 1: 0}),
        (["a", "b"], ["a-vessels", "b-vessels"], {0: 0, 1: 1}),
        (["a-vessels", "b-vessels"], ["b", "a"], {0: 1, 1: 0}),
        (["a-vessels", "c"], ["a", "c_manual"], {0: 0, 1: 1}),
        (["01L_1stHO", "01R_1stHO"], ["01R", "01L"], {0: 1, 1: 0}),
        (["test/7.png", "train/7.png"], ["train/7.gif"], {1: 0}),
        (["p1_img1", "p1_img2"], ["p1_img1", "p1_img4"], {0: 0}),  # not by the number of p1
        (["a", "b"], ["c", "d"], {}),
        (["1", "002"], ["002_man", "01"], {0: 1, 1: 0}),  # some programs drop the zeros
        (["7", "x-7"], ["7_man"], {0: 0}),  # no image is in two pairs
        (["A-vessels", "B-vessels"], ["B", "A"], {0: 1, 1: 0}),
        (["Eye.PNG", "b"], ["eYe.gif", "B"], {0: 0, 1: 1}),
    ],
)
def test_images_are_paired_by_stem_or_else_as_masks_are(first, second, expected):
    found = pair_images(first, second, ("a", "b"))
    assert found == [(first[one], second[other]) for one, other in expected.items()]


def test_two_images_of_a_set_need_two_names():
    with pytest.raises(ValueError, match=r"^here: a\.gif and A\.png have the same name"):
        pair_images(["b", "a.gif", "A.png"], ["a"], ("here", "there"))
    with pytest.raises(ValueError, match=r"^there: a and A\.png have the same name"):
        pair_images(["b"], ["a", "A.png"], ("here", "there"))


def test_images_that_fit_several_are_refused(command, tmp_path):
    row = MEASURED.row()
    a = write(tmp_path / "a.csv", {"1_left": row, "1_right": row})
    b = write(tmp_path / "b.csv", {"1_both": row, "2_both": row})
    with pytest.raises(
        SystemExit, match=r"1_both in .*b\.csv: fits 1_left in .*a\.csv and 1_right in .*a\.csv"
    ):
        command("compare", a, b, "--out", tmp_path / "out")


def test_what_is_paired_by_similar_names_is_named(command, tmp_path):
    rows = [measured(scale).row() for scale in (1, 1.2)]
    a = write(tmp_path / "a.csv", dict(zip(["21_manual1", "22_manual1"], rows, strict=True)))
    b = write(tmp_path / "b.csv", dict(zip(["21_training", "22_training"], rows, strict=True)))
    out = command("compare", a, b, "--out", tmp_path / "out")
    assert out.startswith(
        "Paired by similar names: 21_manual1 with 21_training, 22_manual1 with 22_training\n"
    )
    assert float(results(tmp_path / "out")["density"]["icc"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,density\n1,.1\n", "must have a column image and measures .*; got name, density"),
        ("image,width\n1,.1\n", "must have a column image and measures .*; got image, width"),
        ("image,fov_diameter_px\n1,540\n", ".*measures such as density, .*; got image, fov_"),
        ("image;density\n1;1\n", ".*separated by commas; got image;density"),
        ("", "must have a column image and measures .*; got none"),
        ("image,density\n", "must have at least 1 row, got 0"),
        ("image,,density,,\n1,,wide,,\n", "row 2: density must be a number"),
        ("image,density\n1,.1\n2,wide\n", "row 3: density must be a number, got 'wide'"),
        ("image,density\n1,-inf\n", r"row 2: density must be at most 1e\+30, got -inf"),
        ("image,density\n1,.1\n ,.2\n", "row 3 has no image"),
        ("image;density\n1;,1\n", r"row 2 has more cells than there are columns \(image;density"),
        ("image,density\n1,0,1\n", "row 2 has more cells .*decimals by a point"),
        ("image,density, Density\n1,.1,.2\n", "two columns have the name density"),
        ("image,density\n1,1_000\n", "row 2: density must be a number, got '1_000'"),
        ("image,density\na,.1\nb,.1\na,.2\n", "row 4: another row has the image a too"),
        ("image,density\na.png,.1\nb,.1\nA,.2\n", r"a\.png and A have the same name"),
        ('image,density\n1,"' + "1" * 140_000, "not a CSV file"),
        (b"\x89PNG\r\n", "must be a CSV file in UTF-8"),
        (None, "no such CSV file or folder"),
        ("image,density\n1,1e31\n", "row 2: density must be at most"),
    ],
)
def test_a_table_that_is_wrong_is_named(command, tables, tmp_path, content, message):
    path = tmp_path / "wrong.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit, match=rf"^error: {path}: {message}"):
        command("compare", tables[0], path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            "image,density\nx,.1\ny,.2\n",
            "at least 2 images in common, got 0; they have eye0.png, .*, alone and x, y",
        ),
        ("image,density\neye0,.1\ny,.2\n", "at least 2 images in common, got 1"),
        ("image,length_um\neye0,1\neye1,2\n", "have no measure in common"),
    ],
)
def test_tables_with_too_little_in_common_are_named(command, tables, tmp_path, other, message):
    (tmp_path / "other.csv").write_text(other)
    with pytest.raises(SystemExit, match=rf"^error: \S*a\.csv and \S*other\.csv .*{message}"):
        command("compare", tables[0], tmp_path / "other.csv", "--out", tmp_path / "out")


def test_fields_of_view_are_for_folders(command, tables, tmp_path):
    with pytest.raises(SystemExit, match=r"--fov is for folders of vessel masks, got fovs with "):
        command("compare", *tables, "--fov", "fovs", "--out", tmp_path / "out")


def test_the_columns_are_those_of_a_row():
    row = MEASURED.row(um_per_pixel=20)
    assert {*COLUMNS, SIZE} <= {*row}
    left_out = {*row} - {*COLUMNS, SIZE}
    assert all(
        re.match("fractal_(r2|small|large)|fov_share|speck_share", name) for name in left_out
    )
    assert {measure.name for measure in MEASURES} <= {*vars(MEASURED)}


def test_a_measured_table_is_read_as_it_was(tmp_path):
    row = MEASURED.row(um_per_pixel=20)
    rows = read_rows(write(tmp_path / "a.csv", {"eye.png": row}))
    assert rows == {"eye.png": {name: row[name] for name in (*COLUMNS, SIZE)}}


def test_the_figure_shows_points_and_lines_where_they_belong(tmp_path, monkeypatch):
    figures = []
    written = "torchattn_blocks.retina.measures.bland_altman.write_figure"
    monkeypatch.setattr(written, lambda path, figure: figures.append(figure))
    nan = float("nan")
    pairs = {"a": ([1, 2, 3, nan], [2, 2, 5, 1]), "b": ([nan, nan], [1, 2])}
    save_bland_altman(tmp_path / "x.png", pairs, ("one", "other"))
    one, two = figures[0].axes
    points, *lines = one.get_lines()
    np.testing.assert_array_equal(points.get_xydata()[:3], [[1.5, -1], [2, 0], [4, -2]])
    expected = agreement(*pairs["a"])
    heights = [line.get_ydata()[0] for line in lines]
    assert heights == [0, expected.mean_difference, expected.lower, expected.upper]
    assert (one.get_title(), two.get_title()) == ("a", "b")
    assert len(two.get_lines()) == 2  # beside the points, that of no difference alone


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_the_figure_of_any_number_of_measures_and_any_names(tmp_path, count):
    pairs = {f"measure {n}": ([1, 2, 3], [2, 2, 5]) for n in range(count)}
    save_bland_altman(tmp_path / "x.png", pairs, ("a$_$b", "long/" * 30))
    with Image.open(tmp_path / "x.png") as figure:
        assert figure.width == 540 * min(count, 3)
