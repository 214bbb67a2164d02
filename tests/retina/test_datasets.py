"""The readers of DRIVE and CHASE_DB1, on tiny trees in the sets' own layouts and on the sets."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from torchattn_blocks.retina.data.chase_files import list_chase_db1
from torchattn_blocks.retina.data.drive_files import list_drive
from torchattn_blocks.retina.data.files import FundusFiles
from torchattn_blocks.retina.data.fov import estimate_fov

HEIGHT, WIDTH = 12, 16


def photograph(path, mark):
    """A disc on black whose blue value tells the photograph."""
    row, column = np.ogrid[:HEIGHT, :WIDTH]
    fov = (row - 6) ** 2 + (column - 8) ** 2 < 25
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.where(fov[..., None], (200, 100, mark), 0).astype(np.uint8))
    image.save(path, quality=100, subsampling=0)  # as a JPEG too, the mark stays legible


def bitmap(path, count, low=0, high=255):
    """A map with so many pixels marked: the count tells the photograph."""
    pixels = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) < count).astype(np.uint8)
    image = Image.fromarray(pixels)
    image.putpalette([low] * 3 + [high] * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if path.suffix == ".gif" else image.convert("1")).save(path)


def make_drive(root, split="training", names=("21", "22", "23")):
    for name in names:
        photograph(root / split / "images" / f"{name}_{split}.tif", int(name))
        bitmap(root / split / "1st_manual" / f"{name}_manual1.gif", int(name))
        bitmap(root / split / "2nd_manual" / f"{name}_manual2.gif", int(name) + 40, 3, 253)
        bitmap(root / split / "mask" / f"{name}_{split}_mask.gif", int(name) + 80)


def make_chase(root, names=("01L", "01R", "02L"), mask=True):
    for i, name in enumerate(names):
        photograph(root / f"Image_{name}.jpg", 10 * i)
        bitmap(root / f"Image_{name}_1stHO.png", 10 + i)
        bitmap(root / f"Image_{name}_2ndHO.png", 50 + i)
        if mask:
            bitmap(root / "mask" / f"Image_{name}_mask.png", 90 + i)


@pytest.fixture(autouse=True)
def _arbitrary_listing_order(monkeypatch):
    """Let folders be listed in an order that changes, as file systems are free to."""
    listed, shuffle = Path.iterdir, random.Random(0).shuffle

    def iterdir(folder):
        paths = list(listed(folder))
        shuffle(paths)
        return iter(paths)

    monkeypatch.setattr(Path, "iterdir", iterdir)


# What the trees hold comes out, each map with its own photograph


@pytest.mark.parametrize("kind", [str, Path])
def test_drive(tmp_path, kind):
    make_drive(tmp_path)
    files = list_drive(kind(tmp_path), "training")
    assert [f.name for f in files] == ["21", "22", "23"]
    folder = tmp_path / "training"
    assert files[0] == FundusFiles(
        "21",
        image=folder / "images" / "21_training.tif",
        label=folder / "1st_manual" / "21_manual1.gif",
        fov=folder / "mask" / "21_training_mask.gif",
        second_label=folder / "2nd_manual" / "21_manual2.gif",
    )
    for f in files:
        fundus = f.read()
        assert fundus.name == f.name
        assert fundus.image.shape == (HEIGHT, WIDTH, 3)
        assert fundus.image.dtype == np.uint8
        assert fundus.image[6, 8].tolist() == [200, 100, int(f.name)]
        counts = [0, 40, 80]
        for bits, more in zip((fundus.label, fundus.second_label, fundus.fov), counts, strict=True):
            assert bits.shape == (HEIGHT, WIDTH)
            assert bits.dtype == np.bool_
            assert bits.sum() == int(f.name) + more


def test_drive_as_handed_out_today_has_no_maps_of_the_test_photographs(tmp_path):
    make_drive(tmp_path, "test", ("01", "02"))
    shutil.rmtree(tmp_path / "test" / "1st_manual")
    shutil.rmtree(tmp_path / "test" / "2nd_manual")
    files = list_drive(tmp_path, "test")
    assert [(f.name, f.label, f.second_label) for f in files] == [
        ("01", None, None),
        ("02", None, None),
    ]
    fundus = files[0].read()
    assert fundus.label is None
    assert fundus.second_label is None
    assert fundus.fov.sum() == 81


def test_chase_db1(tmp_path):
    make_chase(tmp_path, ("01L", "01R", "02L", "12R"))
    files = list_chase_db1(tmp_path)
    assert [f.name for f in files] == ["01L", "01R", "02L", "12R"]
    for i, f in enumerate(files):
        fundus = f.read()
        assert fundus.image.shape == (HEIGHT, WIDTH, 3)
        assert abs(int(fundus.image[6, 8, 2]) - 10 * i) < 5  # JPEG
        sums = [int(bits.sum()) for bits in (fundus.label, fundus.second_label, fundus.fov)]
        assert sums == [10 + i, 50 + i, 90 + i]


def test_chase_db1_as_handed_out_has_no_masks(tmp_path):
    make_chase(tmp_path, mask=False)
    for f in list_chase_db1(tmp_path):
        assert f.fov is None
        fundus = f.read()
        np.testing.assert_array_equal(fundus.fov, estimate_fov(fundus.image))
        assert 0 < fundus.fov.mean() < 1


def test_names_in_other_cases_and_formats(tmp_path):
    make_chase(tmp_path)
    # Sorted by name, these stand behind all others: to pair off two sorted lists would mix them up.
    (tmp_path / "Image_01L.jpg").rename(tmp_path / "image_01l.JPG")
    photograph(tmp_path / "image_01R.PNG", 77)
    (tmp_path / "Image_01R.jpg").unlink()
    first, second, third = list_chase_db1(tmp_path)
    assert [first.name, second.name, third.name] == ["01L", "01R", "02L"]
    assert first.label == tmp_path / "Image_01L_1stHO.png"
    assert second.read().image[6, 8, 2] == 77
    assert second.read().label.sum() == 11


def test_other_files_are_no_part_of_the_set(tmp_path):
    make_drive(tmp_path)
    make_chase(tmp_path)
    for folder in (tmp_path, *(tmp_path / "training").iterdir()):
        for name in (
            ".DS_Store",
            "Thumbs.db",
            "._21_training.tif",
            "._Image_03L.jpg",
            "21_notes.txt",
        ):
            (folder / name).write_bytes(b"")
    assert [f.name for f in list_drive(tmp_path, "training")] == ["21", "22", "23"]
    assert [f.name for f in list_chase_db1(tmp_path)] == ["01L", "01R", "02L"]


def test_the_made_up_second_observer_is_like_drives(tmp_path):
    bitmap(tmp_path / "01_manual2.gif", 9, 3, 253)
    with Image.open(tmp_path / "01_manual2.gif") as image:
        assert np.unique(np.array(image.convert("L"))).tolist() == [3, 253]


def test_the_pixels_can_be_written(tmp_path):
    # torch.from_numpy warns of arrays that cannot, and np.asarray makes such of a Pillow image.
    make_chase(tmp_path)
    fundus = list_chase_db1(tmp_path)[0].read()
    for array in (fundus.image, fundus.label, fundus.fov, fundus.second_label):
        assert array.flags.writeable


@pytest.mark.parametrize("marked", [0, HEIGHT * WIDTH])
def test_a_map_of_one_value_is_legal(tmp_path, marked):
    make_chase(tmp_path)
    bitmap(tmp_path / "Image_01L_1stHO.png", marked)
    assert list_chase_db1(tmp_path)[0].read().label.sum() == marked


# Ill-formed trees: (what is done to the tree, the error, the path that it names).


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


DRIVE_FAULTS = {
    "no root": (shutil.rmtree, FileNotFoundError, "training/images"),
    "no photographs' folder": (
        lambda root: shutil.rmtree(root / "training/images"),
        FileNotFoundError,
        "training/images",
    ),
    "no labels' folder": (
        lambda root: shutil.rmtree(root / "training/1st_manual"),
        FileNotFoundError,
        "training/1st_manual",
    ),
    "no masks' folder": (
        lambda root: shutil.rmtree(root / "training/mask"),
        FileNotFoundError,
        "training/mask",
    ),
    "no photographs": (
        lambda root: empty(root / "training/images"),
        FileNotFoundError,
        "training/images",
    ),
    "no labels": (
        lambda root: empty(root / "training/1st_manual"),
        FileNotFoundError,
        "training/1st_manual",
    ),
    "no masks": (lambda root: empty(root / "training/mask"), FileNotFoundError, "training/mask"),
    "photograph without label": (
        lambda root: (root / "training/1st_manual/22_manual1.gif").unlink(),
        FileNotFoundError,
        "training/images/22_training.tif",
    ),
    "photograph without mask": (
        lambda root: (root / "training/mask/22_training_mask.gif").unlink(),
        FileNotFoundError,
        "training/images/22_training.tif",
    ),
    "photograph without second map": (
        lambda root: (root / "training/2nd_manual/23_manual2.gif").unlink(),
        FileNotFoundError,
        "training/images/23_training.tif",
    ),
    "label without photograph": (
        lambda root: bitmap(root / "training/1st_manual/24_manual1.gif", 1),
        ValueError,
        "training/1st_manual/24_manual1.gif",
    ),
    "mask without photograph": (
        lambda root: bitmap(root / "training/mask/24_training_mask.gif", 1),
        ValueError,
        "training/mask/24_training_mask.gif",
    ),
    "second map without photograph": (
        lambda root: bitmap(root / "training/2nd_manual/24_manual2.gif", 1),
        ValueError,
        "training/2nd_manual/24_manual2.gif",
    ),
    "two photographs of one number": (
        lambda root: photograph(root / "training/images/22_training.png", 0),
        ValueError,
        "training/images/22_training.tif",
    ),
}

CHASE_FAULTS = {
    "no root": (shutil.rmtree, FileNotFoundError, ""),
    "empty": (lambda root: (shutil.rmtree(root), root.mkdir()), FileNotFoundError, ""),
    "no photographs": (
        lambda root: [path.unlink() for path in root.glob("*.jpg")],
        FileNotFoundError,
        "",
    ),
    "no labels": (
        lambda root: [path.unlink() for path in root.glob("*_1stHO.png")],
        FileNotFoundError,
        "",
    ),
    "photograph without label": (
        lambda root: (root / "Image_01R_1stHO.png").unlink(),
        FileNotFoundError,
        "Image_01R.jpg",
    ),
    "photograph without second map": (
        lambda root: (root / "Image_01R_2ndHO.png").unlink(),
        FileNotFoundError,
        "Image_01R.jpg",
    ),
    "photograph without mask": (
        lambda root: (root / "mask/Image_01R_mask.png").unlink(),
        FileNotFoundError,
        "Image_01R.jpg",
    ),
    "maps without photograph": (
        lambda root: (root / "Image_01R.jpg").unlink(),
        ValueError,
        "Image_01R_1stHO.png",
    ),
    "two photographs of one identifier": (
        lambda root: photograph(root / "image_01r.png", 0),
        ValueError,
        "image_01r.png",
    ),
}


def check(error, root, named):
    text = str(error.value)
    assert str(root / named) in text
    assert "http" in text or "archive" in text or "Keep one" in text  # the remedy


@pytest.mark.parametrize("fault", DRIVE_FAULTS)
def test_an_ill_formed_drive_is_refused(tmp_path, fault):
    root = tmp_path / "my data"
    make_drive(root)
    harm, expected, named = DRIVE_FAULTS[fault]
    assert len(list_drive(root, "training")) == 3
    harm(root)
    with pytest.raises(expected) as error:
        list_drive(root, "training")
    check(error, root, named)


@pytest.mark.parametrize("fault", CHASE_FAULTS)
def test_an_ill_formed_chase_db1_is_refused(tmp_path, fault):
    root = tmp_path / "my data"
    make_chase(root)
    harm, expected, named = CHASE_FAULTS[fault]
    assert len(list_chase_db1(root)) == 3
    harm(root)
    with pytest.raises(expected) as error:
        list_chase_db1(root)
    check(error, root, named)


def test_the_error_of_a_missing_folder_says_where_the_set_comes_from(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such folder(?s:.)*drive\.grand-challenge\.org"
    ):
        list_drive(tmp_path / "nowhere", "test")
    with pytest.raises(FileNotFoundError, match=r"no such folder(?s:.)*Kingston University"):
        list_chase_db1(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no photograph(?s:.)*Kingston University"):
        list_chase_db1(tmp_path)


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "DRIVE.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"DRIVE\.zip"):
        list_chase_db1(tmp_path / "DRIVE.zip")


def test_an_unknown_split_is_refused(tmp_path):
    make_drive(tmp_path)
    with pytest.raises(ValueError, match=r'"training" or "test", got \'train\''):
        list_drive(tmp_path, "train")


def test_test_labels_are_there_for_all_photographs_or_none(tmp_path):
    make_drive(tmp_path, "test", ("01", "02"))
    (tmp_path / "test" / "1st_manual" / "02_manual1.gif").unlink()
    with pytest.raises(FileNotFoundError, match=r"02_test\.tif"):
        list_drive(tmp_path, "test")


# Ill-formed files: (what is done to a file, whether another error is the cause)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def grow(path):
    with Image.open(path) as image:
        larger = image.resize((WIDTH + 1, HEIGHT))
    larger.save(path)


def redraw(values):
    def write(path):
        pixels = np.resize(np.array(values, dtype=np.uint8), (HEIGHT, WIDTH))
        Image.fromarray(pixels).save(path)

    return write


def claim_a_huge_size(path):
    content = bytearray(path.read_bytes())
    content[6:10] = b"\xff" * 4  # a GIF's width and height; Pillow's error is then no OSError
    path.write_bytes(content)


PHOTOGRAPH, LABEL, SECOND, MASK = (
    "images/21_training.tif",
    "1st_manual/21_manual1.gif",
    "2nd_manual/21_manual2.gif",
    "mask/21_training_mask.gif",
)
DAMAGED = {
    **{f"truncated {file}": (file, halve) for file in (PHOTOGRAPH, LABEL, SECOND, MASK)},
    "huge mask": (MASK, claim_a_huge_size),
    "empty photograph": (PHOTOGRAPH, lambda path: path.write_bytes(b"")),
    "text for a photograph": (PHOTOGRAPH, lambda path: path.write_text("no image")),
    "web page for a mask": (MASK, lambda path: path.write_text("<html>404</html>")),
}
MISMATCHED = {
    **{f"size of {file}": (file, grow, "17 wide and 12 high") for file in (LABEL, SECOND, MASK)},
    "label of 0 and 1": (LABEL, redraw([0, 1]), "2 and 0"),
    "photograph for a label": (LABEL, redraw(range(192)), "128 and 64"),
    "white in two shades": (SECOND, redraw([0, 254, 255]), "1 and 2"),
    "empty field of view": (MASK, redraw([0]), "holds no pixel"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_file_is_named(tmp_path, fault):
    make_drive(tmp_path, names=("21",))
    file, harm = DAMAGED[fault]
    [files] = list_drive(tmp_path, "training")
    files.read()
    harm(tmp_path / "training" / file)
    with pytest.raises(ValueError, match="cannot be decoded") as error:
        files.read()
    assert str(tmp_path / "training" / file) in str(error.value)
    assert "archive" in str(error.value)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    "file", ["Image_01L.jpg", "Image_01L_1stHO.png", "mask/Image_01L_mask.png"]
)
def test_a_truncated_jpeg_or_png_is_named(tmp_path, file):
    make_chase(tmp_path)
    halve(tmp_path / file)
    with pytest.raises(ValueError, match="cannot be decoded") as error:
        list_chase_db1(tmp_path)[0].read()
    assert str(tmp_path / file) in str(error.value)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("fault", MISMATCHED)
def test_a_file_that_does_not_fit_is_named(tmp_path, fault):
    make_drive(tmp_path, names=("21",))
    file, harm, expected = MISMATCHED[fault]
    [files] = list_drive(tmp_path, "training")
    files.read()
    harm(tmp_path / "training" / file)
    with pytest.raises(ValueError, match=expected) as error:
        files.read()
    assert str(tmp_path / "training" / file) in str(error.value)


def test_a_file_gone_since_the_listing_is_missing(tmp_path):
    make_drive(tmp_path)
    files = list_drive(tmp_path, "training")[0]
    files.label.unlink()
    with pytest.raises(FileNotFoundError, match=r"21_manual1\.gif"):
        files.read()


# The sets themselves


def test_the_real_drive(real_data):
    files = list_drive(real_data / "DRIVE", "test") + list_drive(real_data / "DRIVE", "training")
    assert [f.name for f in files] == [f"{number:02}" for number in range(1, 41)]
    for fundus in (f.read() for f in files):
        assert fundus.image.shape == (584, 565, 3)
        assert fundus.label.shape == fundus.fov.shape == (584, 565)
        assert (fundus.second_label is None) == (fundus.name > "20")
        # In green, vessels are darker than what is about them: by 5.8 and more under a photograph's
        # own map, by 1.3 and less under the map of any other.
        green = fundus.image[..., 1].astype(float)
        darker = ndimage.uniform_filter(green, 25) - green
        away_from_rim = ndimage.binary_erosion(fundus.fov, iterations=15)
        assert darker[fundus.label & away_from_rim].mean() > 3


def test_the_real_drives_known_numbers(real_data):
    photographs = [files.read() for files in list_drive(real_data / "DRIVE", "test")]
    assert sum(int(p.fov.sum()) for p in photographs) == 4_538_143
    label = np.stack([p.label for p in photographs])
    second = np.stack([p.second_label for p in photographs])
    f1 = 2 * (label & second).sum() / (label.sum() + second.sum())
    assert round(float(f1), 4) == 0.7889
    assert round(float((label == second).mean()), 4) == 0.9637


def test_the_real_chase_db1(real_data):
    files = list_chase_db1(real_data / "CHASE_DB1")
    assert [f.name for f in files] == [f"{n:02}{eye}" for n in range(1, 15) for eye in "LR"]
    for fundus in (f.read() for f in files):
        assert fundus.image.shape == (960, 999, 3)
        assert fundus.fov.shape == (960, 999)
        both = (fundus.label & fundus.second_label).sum() / (
            fundus.label | fundus.second_label
        ).sum()
        assert both > 0.4  # two observers of one photograph; of two photographs, about .05


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_picture_of_more_than_8_bits_is_refused_and_not_cut_off(tmp_path, dtype):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.full((HEIGHT, WIDTH), 300, dtype)).save(path)
    files = FundusFiles("deep", path, label=None, fov=None, second_label=None)
    with pytest.raises(ValueError, match=r"deep\.tif: .*more than 8 bits a channel"):
        files.read()
