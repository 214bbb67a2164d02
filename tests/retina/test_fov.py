"""The field of view computed from an image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from torchattn_blocks.retina import synthesize
from torchattn_blocks.retina.data.chase_files import list_chase_db1
from torchattn_blocks.retina.data.drive_files import list_drive
from torchattn_blocks.retina.data.fov import estimate_fov

RETINA, BORDER = (180, 90, 40), (6, 6, 8)


def disc(height=120, width=140, centre=(60, 70), radius=52):
    row, column = np.ogrid[:height, :width]
    return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < radius**2


def paint(fov):
    return np.where(fov[..., None], RETINA, BORDER).astype(np.uint8)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(
    "fov",
    [
        disc(),
        disc(radius=65),
        disc(height=100, width=100, centre=(50, 50), radius=60),
        disc(centre=(0, 0), radius=90),
        disc(height=20, width=24, centre=(10, 12), radius=9),
    ],
    ids=["whole", "cropped above and below", "cropped on four sides", "a quarter", "tiny"],
)
def test_a_sharp_disc_is_found_to_the_pixel(fov):
    np.testing.assert_array_equal(estimate_fov(paint(fov)), fov)


def test_dark_spots_in_the_retina_belong_to_it():
    image = paint(disc())
    image[40:60, 50:70] = BORDER
    np.testing.assert_array_equal(estimate_fov(image), disc())


def test_lettering_on_the_border_does_not():
    image = paint(disc())
    image[3:9, 3:20] = 255
    np.testing.assert_array_equal(estimate_fov(image), disc())


def test_a_noisy_border_is_no_retina():
    image = paint(disc())
    noise = np.random.default_rng(0).integers(0, 16, image.shape, dtype=np.uint8)
    np.testing.assert_array_equal(estimate_fov(np.where(disc()[..., None], image, noise)), disc())


def test_a_dim_rim_is_retina():
    # Down to a seventh of the brightness at the left rim, as at the rim of CHASE_DB1's 14R.
    light = np.linspace(0.05, 1.3, 140).clip(max=1)[None, :, None]
    image = np.where(disc()[..., None], np.multiply(RETINA, light), BORDER).astype(np.uint8)
    np.testing.assert_array_equal(estimate_fov(image), disc())


def test_a_blurred_rim_stays_in_place():
    # One threshold for all of the image would put the rim further out, and fail.
    fov = disc(480, 560, (240, 280), 208)
    image = ndimage.gaussian_filter(paint(fov), (1.5, 1.5, 0))
    assert iou(estimate_fov(image), fov) > 0.99


def vessels():
    """An image within the retina: dark vessels from side to side, and uneven light."""
    image = np.full((120, 140, 3), RETINA, dtype=np.uint8) * np.linspace(0.5, 1, 140)[None, :, None]
    image[30:36] *= 0.6
    image[:, 50:58] *= 0.6
    return image.astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [vessels(), np.zeros((5, 7, 3), np.uint8), np.full((1, 1, 3), 200, np.uint8)],
    ids=["vessels", "black", "one pixel"],
)
def test_without_a_dark_border_everything_is_seen(image):
    fov = estimate_fov(image)
    assert fov.dtype == np.bool_
    assert fov.shape == image.shape[:2]
    assert fov.all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
    ],
    ids=["grey", "alpha", "channels first", "empty", "float"],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises((TypeError, ValueError), match="estimate_fov: image must") as error:
        estimate_fov(image)
    wrong = image.shape if image.dtype == np.uint8 else image.dtype
    assert f"got {wrong}. " in f"{error.value}. "  # and a remedy, if there is one


def test_another_camera():
    # scikit-image's own image: a disc of radius 697 but for a tab at the upper right.
    image = data.retina()
    whole = disc(1411, 1411, (703, 704), 697)
    assert iou(estimate_fov(image), whole) > 0.99
    cropped = np.s_[200:-300, 350:]
    assert iou(estimate_fov(image[cropped]), whole[cropped]) > 0.99


def test_agrees_with_the_masks_of_drive(real_data):
    images = [
        f.read() for split in ("training", "test") for f in list_drive(real_data / "DRIVE", split)
    ]
    agreement = [iou(estimate_fov(p.image), p.fov) for p in images]
    assert len(agreement) == 40
    assert min(agreement) > 0.992
    assert np.mean(agreement) > 0.994


def test_agrees_with_the_masks_of_chase_db1(real_data):
    images = [files.read() for files in list_chase_db1(real_data / "CHASE_DB1")]
    agreement = [iou(estimate_fov(p.image), p.fov) for p in images]
    assert len(agreement) == 28
    assert min(agreement) > 0.993
    assert np.mean(agreement) > 0.996


def test_an_image_cut_out_of_the_retina_has_no_border(real_data):
    for files in list_drive(real_data / "DRIVE", "test"):
        assert estimate_fov(files.read().image[150:430, 150:430]).all()


def photographed(border, *, rim=1.0, ragged=0.0, height=300, width=290):
    """A synthetic image with a border and a rim as bright as these fractions of the retina."""
    fundus = synthesize(1, height=height, width=width)
    rng = np.random.default_rng(0)
    row, column = np.indices(fundus.fov.shape)
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    radius = np.hypot(y, x) / np.hypot(y, x)[fundus.fov].max()
    teeth = ragged * np.cos(9 * np.arctan2(y, x))
    image = fundus.image * (1 - (1 - rim) * (radius + teeth > 0.97)[..., None])
    image[~fundus.fov] = border * np.median(fundus.image[fundus.fov], axis=0)
    image = ndimage.gaussian_filter(image, (1.2, 1.2, 0)) + rng.normal(0, 3, image.shape)
    return image.clip(0, 255).astype(np.uint8), fundus.fov


@pytest.mark.parametrize("border", [0.1, 0.23, 0.3, 0.4])
def test_a_light_border_is_no_retina(border):
    image, fov = photographed(border)
    assert iou(estimate_fov(image), fov) > 0.98
    image[5:12, 5:40:3] = 255  # camera text
    assert iou(estimate_fov(image), fov) > 0.98
    assert iou(estimate_fov(image[30:-30]), fov[30:-30]) > 0.98


def test_a_ragged_rim_is_completed():
    image, fov = photographed(0.03, rim=0.1, ragged=0.02)
    seen = image.max(2) > 60  # what a threshold alone would find
    assert iou(seen, fov) < 0.945
    assert iou(estimate_fov(image), fov) > 0.95


def test_light_borders_of_drive(real_data):
    for files in list_drive(real_data / "DRIVE", "test")[::5]:
        fundus = files.read()
        image = fundus.image.copy()
        image[~fundus.fov] = 0.23 * np.median(image[fundus.fov], axis=0)
        assert iou(estimate_fov(image), fundus.fov) > 0.985
