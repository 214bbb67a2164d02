"""Folders as other people keep them: which are read, which refused, and what commands say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import (
    classes,
    coloured_vessels,
    field_of_view,
    image,
    make_chase,
    make_drive,
    make_tree,
    vessels,
)
from PIL import Image

from torchattn_blocks.retina import list_folder, list_hrf, list_stare
from torchattn_blocks.retina.commands._dataset import folders_read, open_dataset
from torchattn_blocks.retina.data import roles
from torchattn_blocks.retina.protocol import folder_protocol

pytestmark = pytest.mark.usefixtures("arbitrary_listing_order")


def parts(folder, files):
    """The files of the same kind in training/ and test/."""
    return {
        f"{part}/{file.replace('PART', part)}": draw
        for part in folder
        for file, draw in files.items()
    }


BOTH = ("training", "test")
# (what is drawn, the names, the folders of labels, fields of view and second labels, the line)
LAYOUTS = {
    "STARE with 1st_manual": (
        {
            "images/{}.ppm": image,
            "1st_manual/{}.ah.ppm": vessels,
            "mask/{}.ppm": field_of_view,
        },
        ("im0001", "im0002", "im0003"),
        ("1st_manual", "mask", None),
        "labels: 1st_manual/ (3), fields of view: mask/ (3)",
    ),
    "STARE of two observers": (
        {"images/{}.ppm": image, "labels-ah/{}.ah.ppm": vessels, "labels-vk/{}.vk.ppm": vessels},
        ("im0001", "im0002", "im0003"),
        ("labels-ah", None, "labels-vk"),
        "labels: labels-ah/ (3), fields of view: estimated, second observer: labels-vk/ (3)",
    ),
    "HRF": (
        {
            "images/{}.JPG": image,
            "manual1/{}.tif": vessels,
            "mask/{}_mask.tif": field_of_view,
        },
        ("01_dr", "01_g", "02_h"),
        ("manual1", "mask", None),
        "labels: manual1/ (3), fields of view: mask/ (3)",
    ),
    "HRF with labels": (
        {"images/{}.jpg": image, "labels/{}.tif": vessels, "mask/{}_mask.tif": field_of_view},
        ("01_dr", "01_g", "02_h"),
        ("labels", "mask", None),
        "labels: labels/ (3), fields of view: mask/ (3)",
    ),
    "Kaggle's DRIVE": (
        parts(
            BOTH,
            {
                "images/{}_PART.tif": image,
                "1st_manual/{}_manual1.gif": vessels,
                "2nd_manual/{}_manual2.gif": vessels,
                "mask/{}_PART_mask.gif": field_of_view,
            },
        ),
        ("21", "22"),
        ("1st_manual", "mask", "2nd_manual"),
        "labels: 1st_manual/ (4), fields of view: mask/ (4), second observer: 2nd_manual/ (4)",
    ),
    "RITE": (
        parts(
            BOTH,
            {
                "images/{}_PART.tif": image,
                "av/{}_PART.png": coloured_vessels,
                "vessel/{}_PART.png": vessels,
            },
        ),
        ("21", "22"),
        ("vessel", None, None),
        "labels: vessel/ (4), fields of view: estimated, not read: av/",
    ),
    "LES-AV": (
        {
            "images/{}.png": image,
            "arteries-and-veins/{}.png": coloured_vessels,
            "masks/{}.png": field_of_view,
            "vessel-segmentations/{}.png": vessels,
        },
        ("11", "271", "276"),
        ("vessel-segmentations", "masks", None),
        "labels: vessel-segmentations/ (3), fields of view: masks/ (3), "
        "not read: arteries-and-veins/",
    ),
    "IOSTAR": (
        {
            "image/STAR {}_OSC.jpg": image,
            "GT/STAR {}_OSC.tif": vessels,
            "mask/STAR {}_OSC_Mask.tif": field_of_view,
            "AV_GT/AV_STAR {}_OSC.tif": coloured_vessels,
        },
        ("01", "02", "48"),
        ("GT", "mask", None),
        "labels: GT/ (3), fields of view: mask/ (3), not read: AV_GT/",
    ),
    "FIVES": (
        parts(("train", "test"), {"Original/{}.png": image, "Ground truth/{}.png": vessels}),
        ("1_A", "2_A"),
        ("Ground truth", None, None),
        "labels: Ground truth/ (4), fields of view: estimated",
    ),
    "CHASE_DB1": (
        {
            "images/Image_{}.jpg": image,
            "1st_label/Image_{}_1stHO.png": vessels,
            "2nd_label/Image_{}_2ndHO.png": vessels,
            "mask/Image_{}_mask.png": field_of_view,
        },
        ("01L", "01R", "02L"),
        ("1st_label", "mask", "2nd_label"),
        "labels: 1st_label/ (3), fields of view: mask/ (3), second observer: 2nd_label/ (3)",
    ),
    "nnU-Net": (
        {"imagesTr/{}_0000.png": image, "labelsTr/{}.png": classes},
        ("eye_01", "eye_02", "eye_03"),
        ("labelsTr", None, None),
        "labels: labelsTr/ (3), fields of view: estimated",
    ),
    "masks of vessels": (
        {"img/{}.png": image, "masks/{}.png": vessels},
        ("a", "b", "c"),
        ("masks", None, None),
        "labels: masks/ (3), fields of view: estimated",
    ),
    "masks of vessels beside fields of view": (
        {"images/{}.png": image, "mask/{}.png": vessels, "FOV/{}.png": field_of_view},
        ("a", "b", "c"),
        ("mask", "FOV", None),
        "labels: mask/ (3), fields of view: FOV/ (3)",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_file_of_a_known_layout_has_its_role(tmp_path, layout):
    drawings, names, folders, line = LAYOUTS[layout]
    make_tree(tmp_path, drawings, names)
    files = list_folder(tmp_path)
    assert len(files) == len(names) * sum(draw is image for draw in drawings.values())
    for f in files:
        masks = (f.label, f.fov, f.second_label)
        assert tuple(path and path.parent.name for path in masks) == folders
        fundus = f.read()
        mark = np.flatnonzero(fundus.label[3])[0] - 5  # the label is of this very image
        assert abs(int(np.median(fundus.image[4:9, 6:10, 2])) - mark) < 4
        number = next(i for i, name in enumerate(names) if name in f.name)
        assert mark == number
    assert folders_read(files) == line


def test_folders_of_the_parts_are_part_of_the_name(tmp_path):
    make_tree(tmp_path, LAYOUTS["Kaggle's DRIVE"][0], ("01", "02"))
    names = [file.name for file in list_folder(tmp_path)]
    assert names == [f"{part}/{n}_{part}" for part in ("test", "training") for n in ("01", "02")]


def test_nnunets_test_images_are_test_images(tmp_path):
    drawings = {f"images{part}/{{}}_0000.png": image for part in ("Tr", "Ts")}
    drawings |= {f"labels{part}/{{}}.png": classes for part in ("Tr", "Ts")}
    make_tree(tmp_path, drawings, ("eye_1", "eye_2"))
    files = list_folder(tmp_path)
    assert [file.name for file in files] == ["eye_1", "eye_2", "test/eye_1", "test/eye_2"]
    assert files[2].label == tmp_path / "labelsTs" / "eye_1.png"
    assert folder_protocol(files).test == ("test/eye_1", "test/eye_2")
    shutil.rmtree(tmp_path / "labelsTs")
    assert [file.label is None for file in list_folder(tmp_path)] == [False, False, True, True]


@pytest.mark.parametrize("images", ["Images", "IMAGE", "img", "Original", "imgs"])
@pytest.mark.parametrize(
    "labels", ["GroundTruth", "ground-truth", "Ground_Truth", "1ST MANUAL", "Vessels", "labels_AH"]
)
def test_case_spaces_dashes_and_underscores_in_names_do_not_matter(tmp_path, images, labels):
    make_tree(tmp_path, {f"{images}/{{}}.png": image, f"{labels}/{{}}.png": vessels}, "ab")
    assert [file.label.parent.name for file in list_folder(tmp_path)] == [labels, labels]


@pytest.mark.parametrize("name", [name for kind in roles.NAMES.values() for name in kind])
def test_every_name_in_the_table_is_read(tmp_path, name):
    kind = next(kind for kind, names in roles.NAMES.items() if name in names)
    image(tmp_path / ("x/images" if kind == "image" else "images") / "1.png", 0)
    draw = {"image": image, "label": vessels, "second": vessels}.get(kind, field_of_view)
    draw(tmp_path / name / "1.png", 0)
    files = list_folder(tmp_path)
    paths = [path for f in files for path in (f.image, f.label, f.fov, f.second_label) if path]
    assert tmp_path / name / "1.png" in paths


# Masks whose content decides


def test_masks_beside_labels_are_fields_of_view_unopened(tmp_path):
    make_tree(tmp_path, {"images/{}.png": image, "labels/{}.png": vessels}, "ab")
    (tmp_path / "masks").mkdir()
    for name in "ab":
        (tmp_path / "masks" / f"{name}.png").write_text("no image")
    assert list_folder(tmp_path)[0].fov == tmp_path / "masks" / "a.png"


def test_only_three_masks_are_opened(tmp_path, monkeypatch):
    names = [f"{n:02}" for n in range(20)]
    make_tree(tmp_path, {"images/{}.png": image}, names)
    make_tree(tmp_path, {"manual/{}.png": vessels, "mask/{}.png": field_of_view}, names[:1])
    for kind in ("manual", "mask"):
        for name in names[1:]:
            shutil.copy(tmp_path / kind / "00.png", tmp_path / kind / f"{name}.png")
    opened, decode = [], roles.decode
    monkeypatch.setattr(roles, "decode", lambda *given: opened.append(given[0]) or decode(*given))
    assert len(list_folder(tmp_path)) == 20
    assert sorted(path.name for path in opened) == ["00.png", "10.png", "19.png"]


def test_vessel_masks_among_fields_of_view_are_refused(tmp_path):
    make_tree(tmp_path, {"images/{}.png": image}, "ab")
    vessels(tmp_path / "mask" / "a.png")
    field_of_view(tmp_path / "mask" / "b.png")
    with pytest.raises(ValueError, match=r"mask: some files look like vessel.*--dataset csv"):
        list_folder(tmp_path)


# Refusals


@pytest.mark.parametrize(
    ("folders", "what"),
    [
        ({"images": image, "img": image}, "images"),
        ({"images": image, "imagesTr": image}, "images"),
        ({"labels": vessels, "1st_manual": vessels}, "vessel masks"),
        ({"labels": vessels, "mask": vessels}, "vessel masks"),
        ({"manual": vessels, "masks": vessels}, "vessel masks"),
        ({"fov": field_of_view, "mask": field_of_view}, "fields of view"),
        ({"2nd_manual": vessels, "labels-vk": vessels}, "second observer's vessel masks"),
    ],
)
def test_two_folders_for_one_role_are_refused(tmp_path, folders, what):
    make_tree(tmp_path, {"images/{}.png": image}, "ab")
    make_tree(tmp_path, {f"{folder}/{{}}.png": draw for folder, draw in folders.items()}, "ab")
    with pytest.raises(ValueError, match=rf"could hold the {what}\. Rename or rem.*csv") as error:
        list_folder(tmp_path)
    for folder in folders:
        assert str(tmp_path / folder) in str(error.value)


def test_an_empty_folder_is_no_candidate(tmp_path):
    make_tree(tmp_path, {"img/{}.png": image, "manual/{}.png": vessels}, "ab")
    for name in ("images", "labels", "mask"):
        (tmp_path / name).mkdir()
    assert folders_read(list_folder(tmp_path)) == "labels: manual/ (2), fields of view: estimated"


@pytest.mark.parametrize("name", ["my_masks", "Segmentation", "annotations", "AV_GT", "vesselmap"])
def test_a_folder_that_may_hold_the_vessel_masks_is_not_dropped(tmp_path, name):
    make_tree(tmp_path, {"images/{}.png": image, f"{name}/{{}}.png": vessels}, "ab")
    with pytest.raises(ValueError, match=rf"there is {name}/\. Rename.* labels/.*--dataset csv"):
        list_folder(tmp_path)
    make_tree(tmp_path, {"vessels/{}.png": vessels}, "ab")
    assert folders_read(list_folder(tmp_path)).endswith(f"not read: {name}/")


def test_without_a_folder_of_images_the_error_says_what_lies_there(tmp_path):
    image(tmp_path / "photos" / "day 1" / "1.png", 0)
    for n in range(10):
        (tmp_path / f"x{n}").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no folder images/") as error:
        list_folder(tmp_path)
    text = str(error.value)
    assert "Folders in it: photos/, photos/day 1/, x0/, x1/, " in text
    assert "and 2 more." in text
    assert "--dataset csv" in text
    for names in (roles.NAMES["image"], roles.NAMES["label"], roles.NAMES["mask"]):
        assert all(f"{name}/" in text for name in names)


@pytest.mark.parametrize("inner", ["images", "labels", "nowhere", "images/deep"])
def test_a_folder_too_low_gets_a_suggestion(tmp_path, inner):
    root = tmp_path / "mine"
    make_tree(root, {"images/{}.png": image, "labels/{}.png": vessels}, "ab")
    (root / "images" / "deep").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"\nDid you mean {root}\?$"):
        list_folder(root / inner)


def test_no_folder_above_is_searched_in_depth(tmp_path):
    make_tree(tmp_path / "other" / "deep", {"images/{}.png": image}, "ab")
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        list_folder(tmp_path / "mine")
    assert "Did you mean" not in str(error.value)


# Images that lack a mask


@pytest.mark.parametrize(("lost", "shown"), [(3, "these 3 images"), (12, "these 12 images")])
@pytest.mark.parametrize("list_files", [list_hrf, list_folder])
def test_all_images_that_lack_a_mask_are_named(tmp_path, list_files, lost, shown):
    names = [f"{n:02}_h" for n in range(1, 15)]
    make_tree(tmp_path, {"images/{}.png": image}, names)
    for name in names[lost:]:
        vessels(tmp_path / "manual1" / f"{name}.png")
    with pytest.raises(FileNotFoundError, match=f"{shown} have no vessel mask, but") as error:
        list_files(tmp_path)
    text = str(error.value)
    paths = [str(tmp_path / "images" / f"{name}.png") for name in names]
    assert [path in text for path in paths] == [n < min(lost, 10) for n in range(14)]
    assert ("and 2 more: " in text) == (lost == 12)
    assert ("archive" in text) == (list_files is list_hrf)


# What the commands say


def test_what_was_read_is_printed_before_the_images_are_split(tmp_path, capsys):
    make_tree(tmp_path, {"images/{}.png": image, "av/{}.png": coloured_vessels}, "abc")
    with pytest.raises(ValueError, match="must have a label"):
        open_dataset("folder", tmp_path)
    shown = capsys.readouterr()
    line = "labels: none, fields of view: estimated, not read: av/\n"
    assert (shown.out, shown.err) == ("", line)


def test_the_line_counts_files_of_all_parts_and_what_is_missing(tmp_path):
    make_tree(tmp_path / "training", {"images/{}.png": image, "GT/{}.png": vessels}, "abc")
    make_tree(tmp_path / "val", {"images/{}.png": image, "labels/{}.png": vessels}, "ab")
    make_tree(tmp_path / "test", {"images/{}.png": image, "mask/{}.png": field_of_view}, "ab")
    assert folders_read(list_folder(tmp_path)) == (
        "labels: GT/ (3) and labels/ (2) and none (2), fields of view: estimated (5) and mask/ (2)"
    )


def test_other_data_sets_print_nothing(tmp_path, capsys):
    make_tree(tmp_path, LAYOUTS["HRF"][0], LAYOUTS["HRF"][1])
    open_dataset("hrf", tmp_path)
    assert capsys.readouterr() == ("", "")


def make_mine(root):
    make_tree(root, {"images/{}.png": image, "labels/{}.png": vessels}, "abc")


def make_stare(root):
    make_tree(root, {"{}.ppm": image, "{}.ah.ppm": vessels}, ("im0001", "im0002"))


def make_hrf(root):
    make_tree(root, LAYOUTS["HRF"][0], LAYOUTS["HRF"][1])


def make_whole_drive(root):
    make_drive(root)
    make_drive(root, "test", ("01", "02"))


@pytest.mark.parametrize(
    ("make", "given", "meant"),
    [
        (make_mine, "drive", "folder"),
        (make_mine, "stare", "folder"),
        (make_stare, "drive", "stare"),
        (make_hrf, "drive", "hrf"),
        (make_chase, "drive", "chase_db1"),
        (make_chase, "folder", "chase_db1"),
        (make_whole_drive, "hrf", "drive"),
    ],
)
def test_the_error_names_the_data_set_that_can_be_read(tmp_path, make, given, meant):
    make(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"\nDid you mean --dataset {meant}\?$"):
        open_dataset(given, tmp_path)


def test_a_refused_data_set_gets_the_hint_too(tmp_path):
    make_tree(tmp_path, {"images/{}.ppm": image, "labels/{}.ppm": vessels}, ("im0001", "im0002"))
    with pytest.raises(ValueError, match=r"also has(?s:.*)\nDid you mean --dataset folder\?$"):
        open_dataset("stare", tmp_path)


def test_a_table_gets_the_hint(tmp_path):
    image(tmp_path / "a.png", 0)
    (tmp_path / "mine.csv").write_text("image\na.png\n")
    with pytest.raises(FileNotFoundError, match=r"Did you mean --dataset csv\?$"):
        open_dataset("drive", tmp_path / "mine.csv")


def test_no_data_set_is_named_if_none_can_be_read(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        open_dataset("drive", tmp_path)
    assert "Did you mean" not in str(error.value)


# STARE's copies with fields of view


@pytest.mark.parametrize(
    "mask", ["mask/{}.ppm", "Masks/{}.gif", "mask-fov/{}_mask.png", "a/mask/{}.tif"]
)
def test_stares_files_in_mask_are_fields_of_view(tmp_path, mask):
    make_tree(
        tmp_path,
        {"images/{}.ppm": image, "labels-ah/{}.ah.ppm": vessels, mask: field_of_view},
        ("im0001", "im0002"),
    )
    image(tmp_path / "images" / "im0003.ppm", 0)  # without vessel mask: not listed
    field_of_view(tmp_path / mask.format("im0003"))
    files = list_stare(tmp_path)
    assert [f.fov for f in files] == [tmp_path / mask.format(n) for n in ("im0001", "im0002")]
    assert [f.image.parent.name for f in files] == ["images", "images"]


def test_stare_in_a_folder_named_mask_is_read(tmp_path):
    make_stare(tmp_path / "mask_rcnn")
    assert [f.fov for f in list_stare(tmp_path / "mask_rcnn")] == [None, None]


def test_stares_field_of_view_without_an_image_is_refused(tmp_path):
    make_stare(tmp_path)
    for name in ("im0001", "im0002", "im0009"):
        field_of_view(tmp_path / "mask" / f"{name}.png")
    with pytest.raises(ValueError, match=r"im0009\.png: this field of view has no image 0009"):
        list_stare(tmp_path)


def test_the_made_up_classes_are_zero_and_one(tmp_path):
    classes(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as picture:
        assert np.unique(np.array(picture)).tolist() == [0, 1]


def test_the_page_on_data_sets_names_every_folder():
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    missing = [name for names in roles.NAMES.values() for name in names if f"`{name}`" not in page]
    assert missing == []
