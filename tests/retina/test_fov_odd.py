"""The field of view of odd pictures, and what is remarked on it. The pictures are drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from small_runs import drawn

from torchattn_blocks.retina.data.fov import estimate_fov, fov_diameter, fov_remark

SEEDS = range(2)
GREEN, BLACK, WHITE = (5.0, 25.0, 12.0), (6.0, 6.0, 6.0), (255.0, 255.0, 255.0)


def iou(one, other):
    return float((one & other).sum() / (one | other).sum())


def canvas(height, width, colour):
    return np.broadcast_to(np.array(colour, float), (height, width, 3)).copy()


def put(canvas, seed, size, top, left, light=None):
    """Draw an eye on a canvas; its field of view. `light` is its median brightness."""
    eye = drawn(seed, size, size)
    pixels = eye.image[eye.fov].astype(float)
    if light is not None:
        pixels *= light / np.median(pixels.max(1))
    fov = np.zeros(canvas.shape[:2], bool)
    fov[top : top + size, left : left + size] = eye.fov
    canvas[fov] = pixels
    return fov


def taken(canvas, seed=0, noise=2.0):
    """A photograph of a canvas: a little blurred, with noise."""
    blurred = ndimage.gaussian_filter(canvas, (1, 1, 0))
    noisy = blurred + np.random.default_rng(seed).normal(0, noise, canvas.shape)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", [60, 100, 130])
@pytest.mark.parametrize("slope", [0, 20])
def test_a_grey_border_is_no_retina(seed, level, slope):
    picture = canvas(300, 380, [level] * 3) + np.linspace(-slope, slope, 380)[None, :, None]
    fov = put(picture, seed, 280, 5, 20 * seed)
    assert iou(estimate_fov(taken(picture, seed)), fov) > 0.96


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [260, 360])
@pytest.mark.parametrize("ring", [15, 60])
def test_a_disc_in_a_holder_is_found(seed, size, ring):
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(0, 300, (480, 640)), 6)
    picture = canvas(480, 640, rng.uniform(100, 190, 3)) + texture[..., None]
    row, column = np.ogrid[:480, :640]
    picture[np.hypot(row - 240, column - 300) < 0.7 * size] = ring
    fov = put(picture, seed, size, 240 - size // 2, 300 - size // 2)
    assert iou(estimate_fov(taken(picture, seed)), fov) > 0.95


@pytest.mark.parametrize("sizes", [(250, 220), (200, 250)])
def test_the_larger_of_two_eyes_is_taken_and_the_other_remarked_on(sizes):
    picture = canvas(260, 480, BLACK)
    fovs = [put(picture, 0, sizes[0], 4, 3), put(picture, 1, sizes[1], 4, 478 - sizes[1])]
    image = taken(picture)
    found = estimate_fov(image)
    assert iou(found, max(fovs, key=np.sum)) > 0.97
    assert "second region of comparable size" in fov_remark(image, found)


@pytest.mark.parametrize("gap", [-6, 10])
@pytest.mark.parametrize(("border", "light"), [(6, 55), (30, 40), (40, 55)])
@pytest.mark.parametrize("size", [60, 150])
def test_a_reflex_beside_the_disc_is_no_retina(gap, border, light, size):
    picture = canvas(400, 660, [border] * 3)
    fov = put(picture, 1, 400, 0, 80, light)
    row, column = np.ogrid[:400, :660]
    picture[np.hypot(row - 150, column - 280 - 191 - size - gap) < size] = 250
    fov &= (picture < 250).any(2)
    found = estimate_fov(taken(picture))
    assert iou(found, fov) > 0.96
    assert fov_remark(taken(picture), found) == ""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("light", "bar"), [(42, 40), (55, 12), (70, 40)])
def test_a_dim_retina_between_bars_on_green_is_found(seed, light, bar):
    picture = canvas(420, 480, GREEN)
    fov = put(picture, seed, 400, 10, 40, light)
    image = taken(picture, seed)
    for edge in (np.s_[:bar], np.s_[-bar:]):
        image[edge], fov[edge] = 0, False
    found = estimate_fov(image)
    assert iou(found, fov) > 0.96
    assert abs(fov_diameter(found) - fov_diameter(fov)) < 0.02 * fov_diameter(fov)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("square", [True, False])
def test_a_disc_on_a_white_page_is_found(seed, square):
    picture = canvas(400, 400, WHITE)
    if square:
        picture[40:290, 90:340] = BLACK
    fov = put(picture, seed, 240, 45, 95)
    image = taken(picture, noise=0)
    found = estimate_fov(image)
    assert iou(found, fov) > 0.96
    assert fov_remark(image, found) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_an_inverted_disc_is_found(seed):
    eye = drawn(seed, 300, 320)
    assert iou(estimate_fov(255 - eye.image), eye.fov) > 0.96


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("vignette", [0.0, 0.5])
def test_a_crop_of_the_retina_has_no_border(seed, vignette):
    row, column = np.mgrid[-1:1:300j, -1:1:260j]
    light = 1 - vignette * (row**2 + column**2) / 2
    image = (drawn(seed, 584, 565).image[142:442, 152:412] * light[..., None]).astype(np.uint8)
    fov = estimate_fov(image)
    assert fov.all()
    assert fov_remark(image, fov).startswith("no dark border found")


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_disc(seed):
    shape = (60 + 20 * seed, 200, 3)
    assert estimate_fov(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).all()


def test_a_small_disc_is_remarked_on():
    picture = canvas(300, 500, BLACK)
    fov = put(picture, 0, 180, 20, 30)
    assert fov_remark(taken(picture), fov) == "the field of view fills only 15% of the image"


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (10, 10), (200, 300)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 90, 40)])
def test_one_colour_is_no_retina(size, colour):
    image = canvas(*size, colour).astype(np.uint8)
    fov = estimate_fov(image)
    assert fov.all()
    assert fov_remark(image, fov) == "no retina found: the image has one colour"


@pytest.mark.parametrize("shape", [(10, 11), (1, 10)])
def test_a_field_of_view_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="fov_remark: fov must have the image's shape"):
        fov_remark(np.zeros((10, 10, 3), np.uint8), np.ones(shape, bool))


SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))


@settings(max_examples=150)
@given(arrays(np.uint8, SHAPES))
def test_no_image_is_an_error(image):
    fov = estimate_fov(image)
    assert fov.shape == image.shape[:2]
    assert fov.any()
    assert "\n" not in fov_remark(image, fov)


def test_flat_discs_and_flat_pictures_are_no_error():
    row, column = np.ogrid[:60, :80]
    for radius in range(8, 40, 4):
        for inner, outer in ((100, 100), (200, 60), (60, 200), (255, 254)):
            image = np.full((60, 80, 3), outer, np.uint8)
            image[np.hypot(row - 30, column - 40) < radius] = inner
            image[np.hypot(row - 30, column - 40) < radius / 3] = outer
            fov_remark(image, estimate_fov(image))
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(0, 256, (45, 2, 3), np.uint8)
        fov_remark(noise, estimate_fov(noise))


@pytest.mark.parametrize("white", [1, 255])
def test_fields_of_view_may_be_numbers(white):
    picture = canvas(260, 480, BLACK)
    fov = put(picture, 0, 250, 4, 3)
    put(picture, 1, 220, 4, 258)
    remark = fov_remark(taken(picture), fov)
    assert remark
    assert fov_remark(taken(picture), fov.astype(np.uint8) * white) == remark
    with pytest.raises(TypeError, match="fov_remark: fov must be an array of type bool, got str"):
        fov_remark(taken(picture), "fov")
