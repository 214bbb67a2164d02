"""The command `measure`, and `segment --measure` and `--layout`."""

import csv
import sys

import numpy as np
import pytest
from drawn_vessels import bar, tree
from PIL import Image

from torchattn_blocks.retina import measure_vessels, synthesize
from torchattn_blocks.retina.measures.folder import MaskFiles, list_masks


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def disc(side, radius):
    row, column = np.ogrid[:side, :side]
    return (row - side / 2) ** 2 + (column - side / 2) ** 2 <= radius**2


def rows(folder):
    with (folder / "measures.csv").open(newline="") as file:
        return {row.pop("image"): row for row in csv.DictReader(file)}


@pytest.fixture
def masks(tmp_path):
    """Masks as those of DRIVE are named, and their fields of view."""
    save(tmp_path / "manual" / "21_manual1.gif", bar(4, 10))
    save(tmp_path / "manual" / "22_manual1.gif", tree(5, side=420)[0])
    save(tmp_path / "fovs" / "21_training_mask.gif", disc(200, 90))
    save(tmp_path / "fovs" / "22_training_mask.gif", disc(420, 200))
    return tmp_path / "manual"


def test_a_folder_is_measured(command, masks, tmp_path):
    said = command("measure", masks, "--fov", tmp_path / "fovs", "--out", tmp_path / "out")
    table = rows(tmp_path / "out")
    assert list(table) == ["21_manual1", "22_manual1"]
    for name, mask, fov in (
        ("21_manual1", bar(4, 10), disc(200, 90)),
        ("22_manual1", tree(5, side=420)[0], disc(420, 200)),
    ):
        expected = measure_vessels(mask, fov).row()
        assert list(table[name]) == list(expected)
        assert {key: float(cell) for key, cell in table[name].items()} == pytest.approx(
            expected, rel=1e-5
        )
    lines = said.splitlines()
    share = disc(200, 90).mean()
    assert lines[0].startswith(
        f"{masks / '21_manual1.gif'}: field of view {share:.0%} of the image, mean width 2."
    )
    assert lines[0].endswith("% of its diameter, specks 0.0% of the vessel pixels")
    assert lines[-1] == str(tmp_path / "out" / "measures.csv")


def test_micrometres_and_specks(command, masks, tmp_path):
    out = tmp_path / "out"
    said = command("measure", masks, "--out", out, "--um-per-pixel", 5, "--min-size", 1e6)
    assert said.startswith(f"No fields of view found: the whole images of {masks} are measured.")
    assert "of the image, no vessels, specks" in said
    assert "specks 100.0% of the vessel pixels" in said
    row = rows(out)["21_manual1"]
    assert row["density"] == row["length_um"] == row["segments"] == "0"
    assert row["mean_width_um"] == row["tortuosity"] == ""
    assert row["fov_share"] == "1"
    command("measure", masks, "--out", out, "--um-per-pixel", 5)
    row = rows(out)["21_manual1"]
    assert float(row["length_um"]) == pytest.approx(5 * float(row["length_px"]), rel=1e-4)


@pytest.mark.parametrize("layout", ["names", "folders"])
def test_what_segment_writes_is_found_again(command, tmp_path, layout, monkeypatch):
    fundus = synthesize(3, height=240, width=230)
    save(tmp_path / "eyes" / "eye.png", fundus.image)
    save(tmp_path / "eyes" / "eye-2.png", fundus.image[:, ::-1])
    out = tmp_path / "maps"
    options = ["--out", out, "--layout", layout, "--measure", "--um-per-pixel", 12]
    said = command("segment", tmp_path / "eyes", *options)
    kinds = ("probability", "vessels", "fov", "overlay")
    stems = ("eye", "eye-2")
    if layout == "folders":
        expected = {out / kind / f"{stem}.png" for kind in kinds for stem in stems}
        masks = out / "vessels"
    else:
        expected = {out / f"{stem}-{kind}.png" for kind in kinds for stem in stems}
        masks = out
    tables = {out / name for name in ("measures.csv", "manifest.csv", "options.json")}
    assert {path for path in out.rglob("*") if path.is_file()} == expected | tables
    assert all(str(path) in said for path in expected if "overlay" in str(path))
    assert said.count("specks") == 2
    table = rows(out)
    files, others = list_masks(masks)
    assert not others
    assert [one.name for one in files] == list(table)
    vessels, fov = (
        np.array(Image.open(path)) > 0 for path in (files[0].vessels, files[0].fov or "")
    )
    measures = measure_vessels(vessels, fov).row(12)
    found = {key: float(cell) for key, cell in table["eye"].items()}
    assert found == pytest.approx(measures, rel=1e-5)
    assert said.endswith(f"\n{out / 'measures.csv'}\n")
    monkeypatch.chdir(masks)
    for place in (".", out):
        again = command("measure", place, "--out", tmp_path / "again", "--um-per-pixel", 12)
        assert rows(tmp_path / "again") == table
        assert "only the vessel masks" not in again
    if layout == "names":
        save(out / "other-vessel.png", vessels)
        again = command("measure", out, "--out", tmp_path / "again")
        said = "only the vessel masks are measured that segment wrote, not other-vessel.png."
        assert f"Of {out}, {said}" in again
        assert list(rows(tmp_path / "again")) == [*table]
        save(out / "vessels" / "eye.png", vessels)
        with pytest.raises(
            SystemExit, match=r"holds files NAME-vessels and a folder vessels\. Pass"
        ):
            command("measure", out, "--out", tmp_path / "again")
    else:
        save(out / "figure.png", vessels)
        again = command("measure", out, "--out", tmp_path / "again")
        assert f"Of {out}, only the vessel masks are measured that segment wrote, not fig" in again
        assert list(rows(tmp_path / "again")) == [*table]


def test_measures_of_segment_need_no_more_than_asked(command, tmp_path, monkeypatch):
    fundus = synthesize(3, height=240, width=230)
    save(tmp_path / "eye.png", fundus.image)
    with pytest.raises(SystemExit, match=r"--um-per-pixel needs --measure, got 5\.0 without"):
        command("segment", tmp_path / "eye.png", "--um-per-pixel", 5, "--out", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "skan", None)
    with pytest.raises(SystemExit, match=r"error: --measure needs skan, of the extra \[measures\]"):
        command("segment", tmp_path / "eye.png", "--measure", "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match=r"error: measure needs skan"):
        command("measure", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    command("segment", tmp_path / "eye.png", "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "measures.csv").exists()


def test_what_was_measured_before_ctrl_c_is_written(command, masks, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "measures.csv").write_text("older")
    measure = MaskFiles.measure

    def stopped_at(name):
        def stop(self, min_size):
            if self.name == name:
                raise KeyboardInterrupt
            return measure(self, min_size)

        monkeypatch.setattr(MaskFiles, "measure", stop)
        with pytest.raises(SystemExit):
            command("measure", masks, "--out", tmp_path / "out")

    stopped_at("21_manual1")
    assert (tmp_path / "out" / "measures.csv").read_text() == "older"
    stopped_at("22_manual1")
    assert list(rows(tmp_path / "out")) == ["21_manual1"]


def test_one_wrong_mask_does_not_stop_the_others(command, masks, tmp_path):
    (masks / "20_manual1.gif").write_bytes(b"GIF89a")
    save(tmp_path / "fovs" / "20_training_mask.gif", disc(200, 90))
    save(masks / "23_manual1.gif", bar(4, 0))
    save(tmp_path / "fovs" / "23_training_mask.gif", disc(210, 90))
    save(masks / "24_manual1.png", np.arange(100, dtype=np.uint8).reshape(10, 10))
    save(tmp_path / "fovs" / "24_training_mask.png", disc(10, 4))
    save(masks / "25_manual1.gif", bar(4, 0))
    save(tmp_path / "fovs" / "25_training_mask.gif", bar(4, 45))
    with pytest.raises(SystemExit) as stopped:
        command("measure", masks, "--fov", tmp_path / "fovs", "--out", tmp_path / "out")
    first, *lines = str(stopped.value).splitlines()
    assert first == "error: 4 of 6 masks could not be measured:"
    for line, path, said in zip(
        lines,
        ("manual/20_manual1.gif", "fovs/23_", "manual/24_manual1.png", "fovs/25_"),
        ("", "210 wide and 210 high, but its image", "not a binary mask", "not a field of view"),
        strict=True,
    ):
        assert path in line
        assert said in line
    assert list(rows(tmp_path / "out")) == ["21_manual1", "22_manual1"]
    save(masks / "21_manual1.gif", ~bar(4, 10))
    with pytest.raises(SystemExit, match=r"21_manual1.gif: \d\d% of the field of view is white."):
        command("measure", masks, "--fov", tmp_path / "fovs", "--out", tmp_path / "out")
    for path in masks.iterdir():
        path.write_bytes(b"GIF89a")
    with pytest.raises(SystemExit, match="6 of 6 masks could not be measured"):
        command("measure", masks, "--fov", tmp_path / "fovs", "--out", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())  # not those of the run before


def test_missing_files_are_named(command, masks, tmp_path):
    def refused(*options):
        with pytest.raises(SystemExit) as stopped:
            command("measure", *options, "--out", tmp_path / "out")
        return str(stopped.value)

    assert "nowhere: this folder does not exist" in refused(tmp_path / "nowhere")
    first = masks / "21_manual1.gif"
    assert refused(first) == f"error: {first}: must be a folder, got a file"
    (tmp_path / "sizes").mkdir()
    (tmp_path / "sizes" / "measures.csv").touch()
    assert "Did you mean" not in refused(tmp_path)
    hint = f"holds no image. Did you mean {tmp_path / 'sizes' / 'measures.csv'}?"
    assert hint in refused(tmp_path / "sizes")
    (tmp_path / "empty").mkdir()
    assert "empty: this folder holds no image" in refused(tmp_path / "empty")
    assert "empty: this folder holds no image" in refused(masks, "--fov", tmp_path / "empty")
    assert "nowhere: this folder does not exist" in refused(masks, "--fov", tmp_path / "nowhere")
    (tmp_path / "fovs" / "22_training_mask.gif").unlink()
    assert "no field of view of" in (said := refused(masks, "--fov", tmp_path / "fovs"))
    assert "22_manual1.gif" in said
    assert "21_manual1.gif" not in said
    for options, said in (
        (["--um-per-pixel", 0], "--um-per-pixel must be above 0 and finite, got 0"),
        (["--um-per-pixel", "nan"], "--um-per-pixel must be above 0 and finite, got nan"),
        (["--min-size", -1], "--min-size must be at least 0 and finite, got -1"),
        (["--min-size", "inf"], "--min-size must be at least 0 and finite, got inf"),
    ):
        assert said in refused(masks, *options)
    assert not (tmp_path / "out").exists()
