"""The readers of DRIVE and CHASE_DB1, on tiny trees in the sets' own layouts and on the sets."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import HEIGHT, WIDTH, bitmap, image, make_chase, make_drive
from PIL import Image
from scipy import ndimage

from torchattn_blocks.retina import FundusFiles, estimate_fov, list_chase_db1, list_drive

pytestmark = pytest.mark.usefixtures("arbitrary_listing_order")

# What the trees hold comes out, each map with its own image


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
        counts = [0, 10, 80]
        for bits, more in zip((fundus.label, fundus.second_label, fundus.fov), counts, strict=True):
            assert bits.shape == (HEIGHT, WIDTH)
            assert bits.dtype == np.bool_
            assert bits.sum() == int(f.name) + more


def test_drive_as_handed_out_today_has_no_maps_of_the_test_images(tmp_path):
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
        assert sums == [10 + i, 30 + i, 90 + i]


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
    image(tmp_path / "image_01R.PNG", 77)
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


def test_a_mask_without_vessels_is_legal_but_warned_of(tmp_path):
    make_chase(tmp_path)
    bitmap(tmp_path / "Image_01L_1stHO.png", 0)
    with pytest.warns(UserWarning, match=r"Image_01L_1stHO.png: vessels cover only 0\.0%"):
        assert list_chase_db1(tmp_path)[0].read().label.sum() == 0


# The sets themselves


def test_the_real_drive(real_data):
    files = list_drive(real_data / "DRIVE", "test") + list_drive(real_data / "DRIVE", "training")
    assert [f.name for f in files] == [f"{number:02}" for number in range(1, 41)]
    for fundus in (f.read() for f in files):
        assert fundus.image.shape == (584, 565, 3)
        assert fundus.label.shape == fundus.fov.shape == (584, 565)
        assert (fundus.second_label is None) == (fundus.name > "20")
        # In green, vessels are darker than what is about them: by 5.8 and more under an image's
        # own map, by 1.3 and less under the map of any other.
        green = fundus.image[..., 1].astype(float)
        darker = ndimage.uniform_filter(green, 25) - green
        away_from_rim = ndimage.binary_erosion(fundus.fov, iterations=15)
        assert darker[fundus.label & away_from_rim].mean() > 3


def test_the_real_drives_known_numbers(real_data):
    images = [files.read() for files in list_drive(real_data / "DRIVE", "test")]
    assert sum(int(p.fov.sum()) for p in images) == 4_538_143
    label = np.stack([p.label for p in images])
    second = np.stack([p.second_label for p in images])
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
        assert both > 0.4  # two observers of one image; of two images, about .05
