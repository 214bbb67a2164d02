"""The synthetic images: what is promised of them, and that they resemble DRIVE's."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from skimage.measure import label as components

from torchattn_blocks.retina.data import synthetic
from torchattn_blocks.retina.data.synthetic import synthesize
from torchattn_blocks.retina.fundus import Fundus


def arrays(fundus: Fundus) -> tuple[np.ndarray, ...]:
    assert fundus.label is not None
    assert fundus.second_label is not None
    return fundus.image, fundus.label, fundus.fov, fundus.second_label


@cache
def small(seed: int) -> Fundus:
    return synthesize(seed, height=96, width=80)


@pytest.fixture(scope="module", params=range(5), ids="seed {}".format)
def fundus(request: pytest.FixtureRequest) -> Fundus:
    """An image at the default size."""
    return synthesize(request.param)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(64, 160), st.integers(64, 160))
def test_any_size(seed: int, height: int, width: int) -> None:
    fundus = synthesize(seed, height=height, width=width)
    image, label, fov, second = arrays(fundus)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    for mask in (label, fov, second):
        assert (mask.shape, mask.dtype) == ((height, width), bool)
        assert mask.any()
    assert not (label & ~fov).any()
    assert not (second & ~fov).any()
    assert all(array.flags.c_contiguous for array in arrays(fundus))


def test_name() -> None:
    assert small(7).name == "synthetic-0007"


def test_equal_arguments_give_equal_arrays_and_leave_global_random_state_alone() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = arrays(synthesize(3, height=96, width=80))
    state = np.random.get_state()[1:]  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    untouched = np.random.get_state()[1:]  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    for one, other in zip(first, arrays(synthesize(3, height=96, width=80)), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(state, untouched, strict=True):
        np.testing.assert_array_equal(one, other)


def test_seeds_differ() -> None:
    for part in ("image", "label", "second_label"):
        assert len({getattr(small(seed), part).tobytes() for seed in range(6)}) == 6


def test_left_and_right_eyes() -> None:
    """The brightest place, the optic disc, is at the left of a left eye."""
    sides = set()
    for seed in range(8):
        green = small(seed).image[..., 1].astype(float)
        column = np.unravel_index(green.argmax(), green.shape)[1] / 79
        assert abs(column - 0.5) > 0.25
        sides.add(bool(column < 0.5))
    assert sides == {True, False}


def test_one_seed_is_one_eye_at_every_size() -> None:
    whole, half = synthesize(5).label, synthesize(5, height=292, width=282).label
    away = distance_transform_edt(~whole[: 2 * 292, : 2 * 282])[::2, ::2]
    assert (away[half] <= 2.5).mean() > 0.98


def test_field_of_view(fundus: Fundus) -> None:
    """A centred circle of DRIVE's diameter, with nothing but a dark surround outside."""
    rows, cols = np.nonzero(fundus.fov)
    assert np.ptp(rows) + 1 == pytest.approx(540, abs=2)
    assert np.ptp(cols) + 1 == pytest.approx(540, abs=2)
    np.testing.assert_array_equal(fundus.fov, fundus.fov[::-1, ::-1])
    assert fundus.fov.sum() == pytest.approx(np.pi * 270**2, rel=0.01)
    outside = distance_transform_edt(~fundus.fov) > 3
    assert fundus.image[outside].max() < 25


def test_vessel_share_is_that_of_drive(fundus: Fundus) -> None:
    label = fundus.label
    assert 0.11 < label[fundus.fov].mean() < 0.15
    assert 0.075 < label.mean() < 0.105


def test_calibres_are_those_of_drive(fundus: Fundus) -> None:
    """Much of the label is a thin vessel's, and the large vessels are about 10 px wide."""
    depth = distance_transform_edt(fundus.label)
    nose = np.s_[:, 110:-110]  # away from the disc, where the large vessels meet
    assert 7 < 2 * depth[nose].max() < 18
    assert (depth[fundus.label] == 1).mean() > 0.4  # a pixel at a vessel's edge


def test_vessels_are_darker_than_their_surroundings_and_thin_ones_faint(fundus: Fundus) -> None:
    green = fundus.image[..., 1].astype(float)
    inside, outside = distance_transform_edt(fundus.label), distance_transform_edt(~fundus.label)
    around = green[(outside > 2) & (outside < 6) & fundus.fov].mean()
    core = inside >= 3
    thin = fundus.label & (distance_transform_edt(~core) > 12)
    assert green[core].mean() < 0.93 * around
    assert 0.8 * around < green[thin].mean() < 0.96 * around


def test_vessels_form_one_tree(fundus: Fundus) -> None:
    sizes = np.bincount(components(fundus.label, connectivity=2).ravel())[1:]
    assert sizes.max() > 0.93 * sizes.sum()


def test_thin_vessels_are_unbroken() -> None:
    """Half as large, most vessels are a pixel wide: a broken line would fall into dozens."""
    for seed in range(3):
        label = synthesize(seed, height=292, width=282).label
        assert components(label, connectivity=2).max() < 20


def test_no_vessel_crosses_the_fovea(fundus: Fundus) -> None:
    away = distance_transform_edt(~fundus.label)
    assert away[292 - 30 : 292 + 30, 282 - 30 : 282 + 30].max() > 28


def test_second_observer_agrees_as_drives_does(fundus: Fundus) -> None:
    _, label, _, second = arrays(fundus)
    both = (label & second).sum()
    assert 0.72 < 2 * both / (label.sum() + second.sum()) < 0.9
    assert both < 0.85 * label.sum()  # misses vessels


def test_murrays_law() -> None:
    """Where one vessel divides, its calibre cubed is its children's together, and a leak."""
    rng = np.random.default_rng(2)
    tree = synthetic._grow(rng, np.array([0.0, 0.0]), np.array([0.8, 0.0]))
    flow = (synthetic._calibres(rng, tree)[1:] / synthetic.WIDTH[tree.kind[1:]]) ** 3
    children = np.bincount(tree.parent[1:], minlength=len(tree.parent))[1:]
    below = np.bincount(tree.parent[1:], flow, len(tree.parent))[1:]
    forks = children >= 2
    assert forks.sum() > 100
    np.testing.assert_allclose(flow[forks], below[forks] + synthetic.LEAK, rtol=1e-9)


@pytest.mark.parametrize(("name", "bound"), [("seed", 0), ("height", 64), ("width", 64)])
def test_below_the_bound(name: str, bound: int) -> None:
    arguments = {"seed": 1, "height": 64, "width": 64}
    synthesize(**arguments | {name: bound})
    with pytest.raises(ValueError, match=f"{name} must be at least {bound}, got {bound - 1}"):
        synthesize(**arguments | {name: bound - 1})


@pytest.mark.parametrize("name", ["seed", "height", "width"])
def test_no_integer(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be an int, got 64.5"):
        synthesize(**{"seed": 1, "height": 64, "width": 64} | {name: 64.5})
