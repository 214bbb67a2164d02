"""DRIVE and CHASE_DB1 incomplete, damaged or mixed up: each error names the file and the remedy."""

import shutil

import numpy as np
import pytest
from made_up_sets import HEIGHT, WIDTH, bitmap, image, make_chase, make_drive
from PIL import Image

from torchattn_blocks.retina import list_chase_db1, list_drive

pytestmark = pytest.mark.usefixtures("arbitrary_listing_order")

# Ill-formed trees: (what is done to the tree, the error, the path that it names).


IMAGE_22 = "training/images/22_training.tif"
SECOND_24 = "training/2nd_manual/24_manual2.gif"
FOV_24 = "training/mask/24_training_mask.gif"
LABEL_24 = "training/1st_manual/24_manual1.gif"


def remove(path):
    """Take a file or a folder away."""
    return lambda root: (
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    )


def remove_all(pattern):
    return lambda root: [path.unlink() for path in root.glob(pattern)]


def add_mask(path):
    return lambda root: bitmap(root / path, 1)


def add_image(path):
    return lambda root: image(root / path, 0)


DRIVE_FAULTS = [
    (remove("."), FileNotFoundError, "training/images"),
    (remove("training/images"), FileNotFoundError, "training/images"),
    (remove("training/1st_manual"), FileNotFoundError, "training/1st_manual"),
    (remove_all("training/images/*"), FileNotFoundError, "training/images"),
    (remove_all("training/1st_manual/*"), FileNotFoundError, "training/1st_manual"),
    # A mask missing of one image, a mask without an image, two images of one number.
    (remove("training/1st_manual/22_manual1.gif"), FileNotFoundError, IMAGE_22),
    (remove("training/mask/22_training_mask.gif"), FileNotFoundError, IMAGE_22),
    (remove("training/2nd_manual/22_manual2.gif"), FileNotFoundError, IMAGE_22),
    (
        add_mask("training/1st_manual/24_manual1.gif"),
        ValueError,
        "training/1st_manual/24_manual1.gif",
    ),
    (
        add_mask("training/mask/24_training_mask.gif"),
        ValueError,
        "training/mask/24_training_mask.gif",
    ),
    (
        add_mask("training/2nd_manual/24_manual2.gif"),
        ValueError,
        "training/2nd_manual/24_manual2.gif",
    ),
    (add_image("training/images/22_training.png"), ValueError, IMAGE_22),
]
CHASE_FAULTS = [
    (remove("."), FileNotFoundError, ""),
    (remove_all("**/*.*"), FileNotFoundError, ""),
    (remove_all("*.jpg"), FileNotFoundError, ""),
    (remove_all("*_1stHO.png"), FileNotFoundError, ""),
    (remove("Image_01R_1stHO.png"), FileNotFoundError, "Image_01R.jpg"),
    (remove("Image_01R_2ndHO.png"), FileNotFoundError, "Image_01R.jpg"),
    (remove("mask/Image_01R_mask.png"), FileNotFoundError, "Image_01R.jpg"),
    (remove("Image_01R.jpg"), ValueError, "Image_01R_1stHO.png"),
    (add_image("image_01r.png"), ValueError, "image_01r.png"),
]


def check(error, root, named):
    text = str(error.value)
    assert str(root / named) in text
    assert "http" in text or "archive" in text or "Remove one" in text  # the remedy


@pytest.mark.parametrize(("harm", "expected", "named"), DRIVE_FAULTS)
def test_an_ill_formed_drive_is_refused(tmp_path, harm, expected, named):
    root = tmp_path / "my data"
    make_drive(root)
    assert len(list_drive(root, "training")) == 3
    harm(root)
    with pytest.raises(expected) as error:
        list_drive(root, "training")
    check(error, root, named)


@pytest.mark.parametrize(("harm", "expected", "named"), CHASE_FAULTS)
def test_an_ill_formed_chase_db1_is_refused(tmp_path, harm, expected, named):
    root = tmp_path / "my data"
    make_chase(root)
    assert len(list_chase_db1(root)) == 3
    harm(root)
    with pytest.raises(expected) as error:
        list_chase_db1(root)
    check(error, root, named)


def test_the_error_of_a_missing_folder_says_where_the_set_comes_from(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"folder does not exist(?s:.)*drive\.grand-challenge\.org"
    ):
        list_drive(tmp_path / "nowhere", "test")
    with pytest.raises(FileNotFoundError, match=r"folder does not exist(?s:.)*Kingston University"):
        list_chase_db1(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no image(?s:.)*Kingston University"):
        list_chase_db1(tmp_path)


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "DRIVE.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"DRIVE\.zip"):
        list_chase_db1(tmp_path / "DRIVE.zip")


def test_an_unknown_split_is_refused(tmp_path):
    make_drive(tmp_path)
    with pytest.raises(ValueError, match=r'"training" or "test", got \'train\''):
        list_drive(tmp_path, "train")


def test_test_labels_are_there_for_all_images_or_none(tmp_path):
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


def frame(path):
    pixels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    pixels[1:-1, 1:-1] = 0
    Image.fromarray(pixels).save(path)


def claim_a_huge_size(path):
    content = bytearray(path.read_bytes())
    content[6:10] = b"\xff" * 4  # a GIF's width and height; Pillow's error is then no OSError
    path.write_bytes(content)


IMAGE, LABEL, SECOND, MASK = (
    "images/21_training.tif",
    "1st_manual/21_manual1.gif",
    "2nd_manual/21_manual2.gif",
    "mask/21_training_mask.gif",
)
DAMAGED = {
    **{f"truncated {file}": (file, halve) for file in (IMAGE, LABEL, SECOND, MASK)},
    "huge mask": (MASK, claim_a_huge_size),
    "empty image": (IMAGE, lambda path: path.write_bytes(b"")),
    "text for an image": (IMAGE, lambda path: path.write_text("no image")),
    "web page for a mask": (MASK, lambda path: path.write_text("<html>404</html>")),
}
MISMATCHED = {
    **{f"size of {file}": (file, grow, "17 wide and 12 high") for file in (LABEL, SECOND, MASK)},
    "label of 1 and 3": (LABEL, redraw([1, 3]), "2 and 0"),
    "image for a label": (LABEL, redraw(range(192)), "128 and 64"),
    "white in two shades": (SECOND, redraw([0, 254, 255]), "1 and 2"),
    "empty field of view": (MASK, redraw([0]), "not a field of view. It has no bright pixel"),
    "vessels for a field of view": (MASK, redraw([255, 0, 0, 0, 0]), "Is it a vessel mask"),
    "a frame for a field of view": (MASK, frame, "fills 50 % or more .* got 1 .* fills 27%"),
    "inverted label": (LABEL, redraw([255] * 9 + [0]), "at most 40 % .* got 9.%. .*invert"),
    "field of view for a label": (SECOND, redraw([255]), "at most 40 % .* got 100%"),
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
