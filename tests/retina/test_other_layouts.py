"""STARE, HRF, CSV files, and the layouts that people's copies of DRIVE and CHASE_DB1 have."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import bitmap, image, make_chase, make_drive
from PIL import Image

from torchattn_blocks.retina import (
    list_chase_db1,
    list_csv,
    list_drive,
    list_folder,
    list_hrf,
    list_stare,
)
from torchattn_blocks.retina.protocol import folder_protocol

pytestmark = pytest.mark.usefixtures("arbitrary_listing_order")


def blue(fundus):
    """The mark that `image` left in a fundus image."""
    return int(np.median(fundus.image[..., 2][fundus.image[..., 0] > 150]))


def pack(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def make_stare(root, packed, folders):
    for i, name in enumerate(("im0001", "im0002", "im0255")):
        places = [root / kind if folders else root for kind in ("images", "ah", "vk")]
        files = [
            places[0] / f"{name}.ppm",
            places[1] / f"{name}.ah.ppm",
            places[2] / f"{name}.vk.ppm",
        ]
        image(files[0], 10 * i)
        bitmap(files[1], 20 + i)
        bitmap(files[2], 30 + i)
        for file in files if packed else ():
            pack(file)
    image((root / "images" if folders else root) / "im0003.ppm", 99)  # has no vessel mask


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folders", [False, True])
def test_stare(tmp_path, packed, folders):
    make_stare(tmp_path, packed, folders)
    files = list_stare(tmp_path)
    assert [f.name for f in files] == ["0001", "0002", "0255"]
    for i, fundus in enumerate(f.read() for f in files):
        assert (blue(fundus), fundus.label.sum(), fundus.second_label.sum()) == (
            10 * i,
            20 + i,
            30 + i,
        )
        assert 0 < fundus.fov.mean() < 1


def test_stare_without_masks_names_them(tmp_path):
    image(tmp_path / "im0001.ppm", 1)
    with pytest.raises(FileNotFoundError, match=r"holds no vessel mask(?s:.)*clemson"):
        list_stare(tmp_path)


def test_hrf(tmp_path):
    for i, name in enumerate(("01_dr", "01_g", "15_h")):
        image(tmp_path / "images" / f"{name}.JPG", 10 * i)
        bitmap(tmp_path / "manual1" / f"{name}.tif", 20 + i)
        bitmap(tmp_path / "mask" / f"{name}_mask.tif", 80 + i)
    files = list_hrf(tmp_path)
    assert [f.name for f in files] == ["01_dr", "01_g", "15_h"]
    for i, fundus in enumerate(f.read() for f in files):
        assert (fundus.label.sum(), fundus.fov.sum()) == (20 + i, 80 + i)
        assert abs(blue(fundus) - 10 * i) < 5
    (tmp_path / "mask" / "01_g_mask.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"01_g\.JPG: this image has no field of view"):
        list_hrf(tmp_path)


def test_a_csv_beside_its_images_gives_names_that_stay_in_a_folder(tmp_path):
    image(tmp_path / "images" / "a.png", 10)
    table = tmp_path / "splits" / "all.csv"
    table.parent.mkdir()
    table.write_text("Image ,LABEL\n\n../images/a.png,\n")
    [files] = list_csv(table)
    assert files.name == "images/a"
    assert blue(files.read()) == 10
    table.write_bytes("image\né.png\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"all\.csv: must be a CSV file in UTF-8"):
        list_csv(table)


def test_csv(tmp_path):
    image(tmp_path / "eyes" / "a.png", 10)
    image(tmp_path / "test" / "b.png", 20)
    bitmap(tmp_path / "vessels.png", 25)
    bitmap(tmp_path / "fov.png", 80)
    absolute = tmp_path / "eyes" / "a.png"
    table = tmp_path / "mine.csv"
    table.write_text(
        f"image, label, mask\ntest/b.png, vessels.png, fov.png\n{absolute},,\n",
        encoding="utf-8-sig",
    )
    files = list_csv(str(table))
    assert [f.name for f in files] == ["a", "test/b"]
    first, second = (f.read() for f in files)
    assert (blue(first), first.label) == (10, None)
    assert (blue(second), second.label.sum(), second.fov.sum()) == (20, 25, 80)


@pytest.mark.parametrize(
    ("error", "text", "message"),
    [
        (FileNotFoundError, None, "mine.csv: this CSV file does not exist"),
        (ValueError, "", "columns must be image .* got none"),
        (ValueError, "label,mask\na.png,b.png\n", "columns must be image .* got label, mask"),
        (ValueError, "image,labels\na.png,a.png\n", "columns must be image .* got image, labels"),
        (ValueError, "image\n", "at least 1 row, got 0"),
        (ValueError, "image,label\n,a.png\n", "row 2 has no image"),
        (ValueError, "image,image\na.png,a.png\n", "mine.csv: two columns have the name image"),
        (ValueError, "image\na.png\na.png\n", "row 3: another row has the image a too"),
        (FileNotFoundError, "image\nz.png\n", "mine.csv: row 2: .*z.png does not exist"),
    ],
)
def test_an_ill_formed_csv_is_refused(tmp_path, error, text, message):
    image(tmp_path / "a.png", 1)
    table = tmp_path / "mine.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(error, match=message):
        list_csv(table)


# Copies of DRIVE and CHASE_DB1 as people have them.


def to_numbers(root):
    for path in list(root.glob("*/*/*_*")):
        path.rename(path.with_name(path.name[:2] + path.suffix))


def to_png(root):
    for path in [*root.rglob("*.tif"), *root.rglob("*.gif"), *root.rglob("*.jpg")]:
        with Image.open(path) as picture:
            picture.convert("RGB").save(path.with_suffix(".png"))
        path.unlink()


def remove_fovs(root):
    for path in root.glob("*/mask/*"):
        path.unlink()
    for folder in root.glob("*/mask"):
        folder.rmdir()


def rename(old, new):
    return lambda root: (root / old).rename(root / new)


@pytest.mark.parametrize(
    "change",
    [
        to_png,
        to_numbers,
        remove_fovs,
        rename("test", "testing"),
        rename("test", "TEST"),
        rename("training", "Train"),
        rename("test/1st_manual", "test/1st_Manual"),
    ],
    ids=["png", "numbers", "no mask", "testing", "TEST", "Train", "1st_Manual"],
)
def test_copies_of_drive(tmp_path, change):
    make_drive(tmp_path)
    make_drive(tmp_path, "test", ("19", "20"))
    change(tmp_path)
    for split, names in (("training", ["21", "22", "23"]), ("test", ["19", "20"])):
        files = list_drive(tmp_path, split)
        assert [f.name for f in files] == names
        for fundus in (f.read() for f in files):
            assert (blue(fundus), fundus.label.sum()) == (int(fundus.name), int(fundus.name))
            assert 0 < fundus.fov.mean() < 1


def into_folders(root):
    for kind, folder in (("", "images"), ("_1stHO", "1st_label"), ("_2ndHO", "2nd_label")):
        (root / folder).mkdir()
        for path in root.glob(f"*_[0-9][0-9][LR]{kind}.*"):
            path.rename(root / folder / path.name)


def into_splits(root):
    for path in list(root.glob("*.*")):
        folder = root / ("train" if "_01" in path.name else "test") / "images"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)


@pytest.mark.parametrize("change", [to_png, into_folders, into_splits])
def test_copies_of_chase_db1(tmp_path, change):
    make_chase(tmp_path)
    change(tmp_path)
    files = list_chase_db1(tmp_path)
    assert [f.name for f in files] == ["01L", "01R", "02L"]
    for i, fundus in enumerate(f.read() for f in files):
        assert (fundus.label.sum(), fundus.second_label.sum()) == (10 + i, 30 + i)
        assert abs(blue(fundus) - 10 * i) < 5


def test_the_paper_authors_own_layout_is_a_folder(tmp_path):
    for part, numbers in (("train", (1, 2)), ("validate", (3,)), ("test", (4, 5))):
        for n in numbers:
            image(tmp_path / part / "images" / f"{n}.png", n)
            bitmap(tmp_path / part / "labels" / f"{n}.png", 20 + n)
    files = list_folder(tmp_path)
    protocol = folder_protocol(files)
    assert protocol.validation == ("validate/3",)
    assert protocol.test == ("test/4", "test/5")


@pytest.mark.parametrize("level", ["..", "training", "../..", "training/images", "../../.."])
def test_a_wrong_level_of_folder_gets_a_suggestion(tmp_path, monkeypatch, level):
    root = tmp_path / "my" / "archive" / "DRIVE"
    make_drive(root)
    monkeypatch.chdir((root / level).resolve())
    with pytest.raises(FileNotFoundError) as error:
        list_drive(".", "training")
    shown = str(error.value).partition("Did you mean ")[2].rstrip("?")
    assert (shown != "") == (level != "../../..")
    assert not shown or (root / level / shown).resolve() == root or Path(shown) == root


@pytest.mark.parametrize("inner", ["images", "images/a"])
def test_a_folder_too_low_gets_a_suggestion(tmp_path, inner):
    make_chase(tmp_path / "chase")
    make_stare(tmp_path / "stare", packed=False, folders=False)
    for name, list_files in (("chase", list_chase_db1), ("stare", list_stare)):
        (tmp_path / name / inner).mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match=f"Did you mean {tmp_path / name}") as error:
            list_files(tmp_path / name / inner)
        assert "Get the archive" in str(error.value)


def test_the_folder_of_the_right_name_comes_first(tmp_path):
    make_drive(tmp_path)
    (tmp_path / "train" / "images").mkdir(parents=True)
    assert len(list_drive(tmp_path, "training")) == 3
