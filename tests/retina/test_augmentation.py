"""Augmentation: every map moves with the image, colours stay the image's, a seed repeats."""

from dataclasses import fields, replace

import numpy as np
import pytest

from torchattn_blocks.retina import Augmentation, synthesize

MAPS = ("label", "fov", "second_label")


@pytest.fixture(scope="module")
def fundus():
    return synthesize(0, height=72, width=64)


def symmetries(flip, rotate):
    """What may become of a map, by name."""
    mirrors = {"": lambda x: x}
    if flip:
        mirrors |= {
            "v": lambda x: x[::-1],
            "h": lambda x: x[:, ::-1],
            "vh": lambda x: x[::-1, ::-1],
        }
    turns = range(4) if rotate else range(1)
    return {
        f"{m}{k}": lambda x, f=f, k=k: np.rot90(f(x), k) for m, f in mirrors.items() for k in turns
    }


@pytest.mark.parametrize(("flip", "rotate", "different"), [(1, 0, 4), (0, 1, 4), (1, 1, 8)])
def test_all_maps_are_moved_as_the_image_is(fundus, flip, rotate, different):
    augment, found = Augmentation(flip=bool(flip), rotate=bool(rotate)), {}
    for seed in range(120):
        moved = augment(fundus, seed)
        fits = [
            name
            for name, move in symmetries(flip, rotate).items()
            if np.array_equal(move(fundus.image), moved.image)
        ]
        assert fits, seed
        move = symmetries(flip, rotate)[fits[0]]
        for name in MAPS:
            assert np.array_equal(move(getattr(fundus, name)), getattr(moved, name)), (seed, name)
        found[fits[0]] = found.get(fits[0], 0) + 1
    assert len(found) == different
    # All as likely: of 120, each of 8 is drawn 15 times, give or take four standard deviations.
    assert min(found.values()) > 120 / different - 4 * (120 / different) ** 0.5


def test_colours_change_in_the_image_alone_and_black_stays_black(fundus):
    dark = replace(fundus, image=fundus.image * fundus.fov[..., None])
    factors = []
    for seed in range(40):
        moved = Augmentation(brightness=0.2, gamma=0.3)(dark, seed)
        for name in MAPS:
            assert np.array_equal(getattr(dark, name), getattr(moved, name))
        assert not moved.image[~fundus.fov].any()
        assert moved.image.dtype == np.uint8
        factors.append(moved.image.mean() / dark.image.mean())
    assert min(factors) < 0.85
    assert max(factors) > 1.15


def test_brightness_keeps_its_bounds(fundus):
    grey = replace(fundus, image=np.full_like(fundus.image, 100))
    values = [Augmentation(brightness=0.1)(grey, seed).image.max() for seed in range(50)]
    assert 90 <= min(values) < 93
    assert 107 < max(values) <= 110
    white = replace(fundus, image=np.full_like(fundus.image, 255))
    assert {Augmentation(brightness=0.1)(white, seed).image.max() for seed in range(20)} >= {255}
    assert min(Augmentation(brightness=0.1)(white, seed).image.max() for seed in range(20)) >= 229


def test_a_seed_repeats_and_another_does_not(fundus):
    augment = Augmentation(flip=True, rotate=True, brightness=0.1, gamma=0.1)
    images = [augment(fundus, seed).image for seed in (1, 1, 2)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_nothing_asked_is_nothing_done(fundus):
    assert Augmentation()(fundus, 0) is fundus


def test_missing_maps_stay_missing_and_the_original_is_not_touched(fundus):
    bare = replace(fundus, label=None, second_label=None)
    before = {f.name: np.copy(getattr(fundus, f.name)) for f in fields(fundus)}
    moved = Augmentation(flip=True, gamma=0.5)(bare, 5)
    assert moved.label is None
    assert moved.second_label is None
    assert all(np.array_equal(before[name], getattr(fundus, name)) for name in before)


@pytest.mark.parametrize("name", ["brightness", "gamma"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_bounds(name, value):
    with pytest.raises(
        ValueError, match=rf"Augmentation: {name} must lie in \[0, 1\), got {value}"
    ):
        Augmentation(**{name: value})
