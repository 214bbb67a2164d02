"""Trees of images/, labels/ and masks/: what is listed, what is refused, what is written."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import drawn

from torchattn_blocks.retina import FundusFiles, estimate_fov
from torchattn_blocks.retina.data.folders import list_folder, save_folder
from torchattn_blocks.retina.protocol import folder_protocol


def make(root, *files, size=(16, 12)):
    """Black pictures below the root."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(path)


def listed(root):
    """What `folder` gives, as paths from the root on."""

    def short(path):
        return path and path.relative_to(root).as_posix()

    return {f.name: (short(f.image), short(f.label), short(f.fov)) for f in list_folder(root)}


pytestmark = pytest.mark.usefixtures("arbitrary_listing_order")


# What the tree holds comes out, each map with its own image


@pytest.mark.parametrize("kind", [str, Path])
def test_the_files_of_an_image(tmp_path, kind):
    make(tmp_path, "images/b.jpg", "labels/b.png", "masks/b.gif")
    [files] = list_folder(kind(tmp_path))
    assert files == FundusFiles(
        "b",
        image=tmp_path / "images/b.jpg",
        label=tmp_path / "labels/b.png",
        fov=tmp_path / "masks/b.gif",
        second_label=None,
    )


def test_folders_at_any_depth_name_their_images(tmp_path):
    places = ("", "test/", "val/", "left eye/2024/")
    for place in places:
        make(tmp_path, f"{place}images/07.png", f"{place}labels/07.png", f"{place}images/1.tif")
        make(tmp_path, f"{place}labels/1.bmp")
    assert listed(tmp_path) == {
        f"{place}{stem}": (f"{place}images/{image}", f"{place}labels/{label}", None)
        for place in places
        for stem, image, label in (("07", "07.png", "07.png"), ("1", "1.tif", "1.bmp"))
    }
    names = [files.name for files in list_folder(tmp_path)]
    assert names == sorted(names) == ["07", "1", *names[2:]]


@pytest.mark.parametrize("suffix", ["", "_label", "_mask", "_manual1", "-vessels", ".v2"])
def test_a_map_has_the_images_stem_and_perhaps_a_suffix(tmp_path, suffix):
    # A name within another, and names that mean something to a pattern
    stems = ["1", "11", "a", "a+b", "(2024) x.y"]
    make(tmp_path, *(f"images/{stem}.png" for stem in stems))
    for kind in ("labels", "masks"):
        make(tmp_path, *(f"{kind}/{stem}{suffix}.PNG" for stem in stems))
    assert listed(tmp_path) == {
        s: (f"images/{s}.png", f"labels/{s}{suffix}.PNG", f"masks/{s}{suffix}.PNG") for s in stems
    }


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (["1"], ["1", "1_manual2"], ["1"]),
        (["1", "1_b"], ["1", "1_b"], ["1", "1_b"]),
        (["1", "1_b"], ["1_a", "1_b"], ["1_a", "1_b"]),
        (["1", "1_b"], ["1", "1_b_label"], ["1", "1_b_label"]),
        (["1", "1_b"], ["1", "1_b", "1_b_label"], ["1", "1_b"]),
    ],
)
def test_the_very_stem_wins(tmp_path, images, labels, expected):
    make(tmp_path, *(f"images/{stem}.png" for stem in images))
    make(tmp_path, *(f"labels/{stem}.png" for stem in labels))
    assert [files.label.stem for files in list_folder(tmp_path)] == expected


def test_a_folder_may_go_without_labels_or_masks(tmp_path):
    make(tmp_path, "test/images/1.png", "test/images/2.png", "test/masks/2.png", "test/masks/1.png")
    make(tmp_path, "training/images/1.png", "training/labels/1.png")
    (tmp_path / "training/masks").mkdir()
    (tmp_path / "empty/images").mkdir(parents=True)
    assert listed(tmp_path) == {
        "test/1": ("test/images/1.png", None, "test/masks/1.png"),
        "test/2": ("test/images/2.png", None, "test/masks/2.png"),
        "training/1": ("training/images/1.png", "training/labels/1.png", None),
    }


def test_other_files_are_left_aside(tmp_path):
    make(tmp_path, "images/1.png", "labels/1.png", "masks/1.png", "results/1.png", "2.png")
    make(tmp_path, ".old/images/1.png", "images/.2.png", "labels/._1.png", "masks/._3.png")
    for kind in ("images", "labels", "masks"):
        for name in (".DS_Store", "Thumbs.db", "notes.txt", "1.npy", "1_png"):
            (tmp_path / kind / name).write_bytes(b"")
    assert listed(tmp_path) == {"1": ("images/1.png", "labels/1.png", "masks/1.png")}


# Links


def test_links_to_folders_are_followed(tmp_path):
    make(tmp_path / "disk", "a/images/1.png", "a/labels/1.png", "b/2.png")
    root = tmp_path / "root"
    (root / "other").mkdir(parents=True)
    (root / "test").symlink_to(tmp_path / "disk/a", target_is_directory=True)
    (root / "other/images").symlink_to(tmp_path / "disk/b", target_is_directory=True)
    assert listed(root) == {
        "test/1": ("test/images/1.png", "test/labels/1.png", None),
        "other/2": ("other/images/2.png", None, None),
    }


def test_links_do_not_loop(tmp_path):
    make(tmp_path, "z/images/1.png")
    # To the root, to the folder itself, to nothing, and to each other
    (tmp_path / "z/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "z/images/here").symlink_to(tmp_path / "z/images", target_is_directory=True)
    (tmp_path / "nothing").symlink_to(tmp_path / "nowhere")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert list(listed(tmp_path)) == ["z/1"]


@pytest.mark.parametrize(
    "ending", ["tif", "TIFF", "gif", "png", "jpg", "JPEG", "bmp", "ppm", "pgm", "webp", "jp2"]
)
def test_endings(tmp_path, ending):
    make(tmp_path, f"images/1.{ending}")
    [files] = list_folder(tmp_path)
    assert files.read().image.shape == (12, 16, 3)


@pytest.mark.parametrize("link", ["a", "a/deep/link", "zz"])
def test_a_linked_folder_goes_by_its_own_name(tmp_path, link):
    make(tmp_path, "test/images/1.png")
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "test", target_is_directory=True)
    assert list(listed(tmp_path)) == ["test/1"]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["21_training.tif", "22_training.tif"], ["21_manual1.gif", "22_manual1.gif"]),
        (["Image_01L.jpg", "Image_01R.jpg"], ["label_01l.png", "label_01r.png"]),
        (["eye 7.png", "eye 70.png"], ["vessels-7.png", "vessels-70.png"]),
        (["1.png", "a2.png"], ["1.png", "b2.png"]),
    ],
)
def test_masks_are_matched_by_number(tmp_path, images, labels):
    make(tmp_path, *(f"images/{name}" for name in images), *(f"labels/{name}" for name in labels))
    assert [f.label.name for f in list_folder(tmp_path)] == labels


# Ill-formed trees: (the files, the error, what it says)

LAYOUT = r"(?s:.*)The folder, or folders in it (?s:.*)images/(?s:.*)labels/(?s:.*)masks/"
FAULTS = {
    "empty": ([], FileNotFoundError, "root: the folder holds no folder images/" + LAYOUT),
    "images elsewhere": (
        ["photos/1.png", "1.png"],
        FileNotFoundError,
        "root: the folder holds no folder images/" + LAYOUT,
    ),
    "no image": (
        ["a/images/.1.png", "b/images/c/1.png"],
        FileNotFoundError,
        "root: the folder holds no image" + LAYOUT,
    ),
    "image without label": (
        ["a/images/1.png", "a/images/2.png", "a/labels/1.png"],
        FileNotFoundError,
        "a/images/2.png: this image has no vessel mask, but others .*labels/1.png"
        ".* remove the image",
    ),
    "image without mask": (
        ["images/1.png", "images/2.png", "masks/1.png"],
        FileNotFoundError,
        "images/2.png: this image has no field of view",
    ),
    "label without image": (
        ["a/images/1.png", "a/labels/1.png", "a/labels/2.png"],
        ValueError,
        "a/labels/2.png: this vessel mask has no image 2. Rename it to the stem of its image, or "
        "remove it.$",
    ),
    "label with more letters than the image": (
        ["images/1.png", "labels/1b.png"],
        ValueError,
        "labels/1b.png: this vessel mask has no image",
    ),
    "label of an image elsewhere": (
        ["a/images/1.png", "b/images/2.png", "a/labels/1.png", "a/labels/2.png"],
        ValueError,
        "a/labels/2.png: this vessel mask has no image 2",
    ),
    "labels of no images": (
        ["a/images/1.png", "b/images/.1.png", "b/labels/1.png"],
        ValueError,
        "b/labels/1.png: this vessel mask has no image",
    ),
    "mask without image": (
        ["images/1.png", "masks/2_mask.png"],
        ValueError,
        "masks/2_mask.png: this field of view has no image",
    ),
    "two labels": (
        ["images/1.png", "labels/1_a.png", "labels/1_b.png"],
        ValueError,
        "labels/1_b.png: .*labels/1_a.png fits .*images/1.png too. Remove one",
    ),
    "two masks": (
        ["images/1.png", "masks/1-a.png", "masks/1_b.png"],
        ValueError,
        "masks/1_b.png: .*masks/1-a.png fits .*images/1.png too. Remove one",
    ),
    "two images for a label": (
        ["images/1.png", "images/1_b.png", "labels/1_b_label.png", "labels/1_label.png"],
        ValueError,
        "labels/1_b_label.png: fits .*images/1.png and .*images/1_b.png. Rename it",
    ),
    "two images of a stem": (
        ["images/1.png", "images/1.jpg"],
        ValueError,
        "images/1.png: .*images/1.jpg also has the identifier 1. Remove one",
    ),
    "two images of a number": (
        ["images/a1.png", "images/b1.png", "labels/c1.png"],
        ValueError,
        "labels/c1.png: fits .*images/a1.png and .*images/b1.png. Rename it",
    ),
    "two labels of a number": (
        ["images/a1.png", "labels/b1.png", "labels/c1.png"],
        ValueError,
        "labels/c1.png: .*labels/b1.png fits .*images/a1.png too. Remove one",
    ),
    "two labels of a stem": (
        ["images/1.png", "labels/1.png", "labels/1.gif"],
        ValueError,
        "labels/1.png: .*labels/1.gif also has the identifier 1. Remove one",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_ill_formed_tree_is_refused(tmp_path, fault):
    files, error, message = FAULTS[fault]
    root = tmp_path / "root"
    root.mkdir()
    make(root, *files)
    with pytest.raises(error, match=message):
        list_folder(root)


@pytest.mark.parametrize("name", ["nowhere", "images.zip"])
def test_the_root_must_be_a_folder(tmp_path, name):
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"{name}: this folder does not exist" + LAYOUT):
        list_folder(tmp_path / name)


# What is written is read again


def images(*names, labels=True):
    for seed, name in enumerate(names):
        fundus = drawn(seed, 64, 72)
        yield replace(fundus, name=name, label=fundus.label if labels else None)


def test_what_is_written_is_read_again(tmp_path):
    names = ("07", "07_left", "a b.c", "test/07", "test/deep/08", "images/labels")
    root = tmp_path / "new" / "root"
    written = {fundus.name: fundus for fundus in images(*names)}
    save_folder(root, iter(written.values()))
    read = [files.read() for files in list_folder(str(root))]
    assert [fundus.name for fundus in read] == sorted(names)
    for fundus in read:
        for part in ("image", "label", "fov"):
            expected = getattr(written[fundus.name], part)
            assert getattr(fundus, part).dtype == expected.dtype
            np.testing.assert_array_equal(getattr(fundus, part), expected)
        assert not np.array_equal(fundus.fov, estimate_fov(fundus.image))  # or fov needs no file


def test_the_files_written(tmp_path):
    save_folder(tmp_path, images("1", "test/2"))
    save_folder(str(tmp_path), images("val/3", labels=False))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert files == {
        *("images/1.png", "labels/1.png", "masks/1.png"),
        *("test/images/2.png", "test/labels/2.png", "test/masks/2.png"),
        *("val/images/3.png", "val/masks/3.png"),
    }
    for file in files:
        with Image.open(tmp_path / file) as image:
            pixels = np.array(image)
        if "images" in file:
            assert pixels.shape == (64, 72, 3)
        else:
            assert pixels.dtype == np.uint8
            assert np.unique(pixels).tolist() == [0, 255]
    assert [f.read().label is None for f in list_folder(tmp_path)] == [False, False, True]


@pytest.mark.parametrize("kind", ["images", "labels", "masks"])
def test_no_file_is_overwritten(tmp_path, kind):
    path = tmp_path / kind / "2.png"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=rf"{kind}/2\.png: this file exists"):
        save_folder(tmp_path, images("1", "2"))
    assert path.read_bytes() == b"mine"
    assert sorted(tmp_path.rglob("2.png")) == [path]


def test_a_name_twice_is_refused(tmp_path):
    with pytest.raises(FileExistsError, match=r"images/1\.png"):
        save_folder(tmp_path, images("1", "1"))
    np.testing.assert_array_equal(list_folder(tmp_path)[0].read().image, next(images("1")).image)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/abs",
        "../up",
        "a/../../up",
        ".hidden",
        ".a/1",
        "a//b",
        "a/",
        "a\\b",
        "c:x",
        "a\nb",
        ".",
    ],
)
def test_a_name_that_is_no_path_below_the_root_is_refused(tmp_path, name):
    root = tmp_path / "a" / "root"
    with pytest.raises(ValueError, match=r"name must be file names.*Rename"):
        save_folder(root, images(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", [True, False])
def test_labels_for_some_images_of_a_folder_are_refused(tmp_path, first):
    some = [*images("a/1", "2", labels=first), *images("b/1", "3", labels=not first)]
    with pytest.raises(ValueError, match=rf"image 3 has {'no' if first else 'a'} label"):
        save_folder(tmp_path, some)
    assert [files.name for files in list_folder(tmp_path)] == ["2", "a/1", "b/1"]


# Which images train, validate and test


@pytest.fixture
def picture(tmp_path):
    make(tmp_path, "picture.png", size=(30, 20))
    return tmp_path / "picture.png"


def parts(picture, names, bare=()):
    """The names in each part, by the protocol and by what it splits."""
    files = [
        FundusFiles(name, picture, None if name in bare else picture, None, None) for name in names
    ]
    random.Random(0).shuffle(files)
    protocol = folder_protocol(files)
    split = protocol.split(files)
    found = [[file.name for file in part] for part in split]
    assert (tuple(found[1]), tuple(found[2])) == (protocol.validation, protocol.test)
    return sorted(found[0]), found[1], found[2]


def numbers(*values, prefix=""):
    return [f"{prefix}{value:02}" for value in values]


@pytest.mark.parametrize(
    ("count", "validation", "test"),
    [
        (3, [2], [3]),
        (4, [3], [4]),
        (5, [4], [5]),
        (10, [9], [5, 10]),
        (12, [12], [5, 10]),
        (13, [12], [5, 10]),
        (27, [12, 24], [5, 10, 15, 20, 25]),
    ],
)
def test_every_fifth_tests_and_every_tenth_of_the_others_validates(
    picture, count, validation, test
):
    everything = set(range(1, count + 1))
    training = sorted(everything - {*validation, *test})
    found = parts(picture, numbers(*everything))
    assert found == (numbers(*training), numbers(*validation), numbers(*test))


@pytest.mark.parametrize("val", ["val", "validation"])
def test_folders_name_their_parts(picture, val):
    test = ["a/test/1", "test/1", "test/val/1"]
    validation = [f"{val}/1", f"{val}/x/2"]
    training = ["test", "testing/1", "training/1", "val"]  # a file named test is in no such folder
    assert parts(picture, training + validation + test) == (training, validation, test)


def test_where_only_one_part_has_a_folder_the_other_is_picked(picture):
    others = numbers(*range(1, 12))
    found = parts(picture, [*others, "test/1"])
    assert found == ([*others[:9], others[10]], [others[9]], ["test/1"])
    found = parts(picture, [*others, "val/1"])
    assert found == ([*others[:4], *others[5:9], others[10]], ["val/1"], [others[4], others[9]])


def test_images_to_test_may_lack_labels(picture):
    names = numbers(1, 2, 3)
    assert parts(picture, [*names, "test/1"], bare=["test/1"])[2] == ["test/1"]
    assert parts(picture, names, bare=["03"])[2] == ["03"]


@pytest.mark.parametrize("bare", [["01"], ["02"], ["01", "02"], ["val/1"]])
def test_others_must_have_labels(picture, bare):
    names = [*numbers(1, 2, 3), *(["val/1"] if "val/1" in bare else [])]
    with pytest.raises(
        ValueError, match=f"must have a label; missing: {', '.join(bare)}. Add them"
    ):
        parts(picture, names, bare)


@pytest.mark.parametrize(
    "names", [[], ["1"], ["1", "2"], ["1", "test/1", "test/2"], ["val/1", "val/2", "test/1"]]
)
def test_too_few_images(picture, names):
    with pytest.raises(ValueError, match=f"got {len(names)} images and no training image"):
        parts(picture, names)


def test_names_must_differ(picture):
    with pytest.raises(ValueError, match="different names, got 02, 04 more than once"):
        parts(picture, numbers(2, 1, 2, 3, 4, 4))


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ({"1": (16, 12), "2": (10, 16), "3": (8, 8)}, 16),
        ({"1": (16, 12), "2": (10, 17), "3": (8, 8)}, 24),
        ({"1": (16, 12), "2": (10, 10), "test/3": (33, 8)}, 40),
        ({"1": (16, 12), "val/2": (10, 30), "3": (8, 8)}, 32),
    ],
)
def test_all_images_fit_the_side(tmp_path, sizes, side):
    for name, size in sizes.items():
        *above, stem = name.split("/")
        place = Path(tmp_path, *above)
        make(place, f"images/{stem}.png", f"labels/{stem}.png", size=size)
    protocol = folder_protocol(list_folder(tmp_path))
    assert (protocol.recipe.side, protocol.p) == (side, 0.15)
    assert protocol.recipe == replace(type(protocol.recipe)(), side=side)


def test_an_image_that_cannot_be_opened_is_named(tmp_path):
    make(tmp_path, *(f"{kind}/{n}.png" for kind in ("images", "labels") for n in (1, 2, 3)))
    files = list_folder(tmp_path)
    (tmp_path / "images/2.png").write_text("no image")
    with pytest.raises(ValueError, match=r"images/2\.png: cannot be decoded"):
        folder_protocol(files)
    (tmp_path / "images/2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/2\.png"):
        folder_protocol(files)
