"""Random crops: where they lie, how they are turned and coloured."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from torchattn_blocks.retina import Crops

STILL = Crops(side=9, free=0, gain=0, channel_gain=0, gamma=0, offset=0)
FREE = Crops(side=31, free=1, gain=0, channel_gain=0, gamma=0, offset=0)


def maps(height=40, width=50):
    """An image whose pixels are all different, a target made of it, and a field of view."""
    values = torch.linspace(0, 1, height * width).reshape(1, height, width)
    image = torch.cat([values, 1 - values, values**2])
    return image, (values > 0.5).float(), torch.ones(1, height, width)


def orientations(window):
    return [w for k in range(4) for w in (window.rot90(k, (1, 2)), window.rot90(k, (1, 2)).flip(2))]


def draw(crops, given, seed):
    return crops(*given, np.random.default_rng(seed))


@pytest.mark.parametrize("side", [8, 9])
def test_turned_crops_are_windows_in_eight_orientations(side):
    image, target, fov = maps()
    crops = Crops(side=side, free=0, gain=0, channel_gain=0, gamma=0, offset=0)
    half = side // 2
    padded = torch.nn.functional.pad(torch.cat([image, target]), (half, side, half, side))
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)[:, :40, :50]
    windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)
    found = set()
    for seed in range(80):
        both = torch.cat(draw(crops, (image, target, fov), seed))
        fits = [
            which
            for which, turned in enumerate(orientations(both))
            if (windows == turned).flatten(1).all(1).any()
        ]
        assert len(fits) == 1, seed
        found.add(fits[0])
    assert len(found) == 8


def test_all_orientations_are_as_likely():
    corner = torch.zeros(1, 9, 9)
    corner[0, 0, 1] = 1
    fov = torch.zeros(1, 9, 9)
    fov[0, 4, 4] = 1
    found = Counter(
        tuple(draw(STILL, (corner.expand(3, 9, 9), corner, fov), seed)[1].nonzero()[0].tolist())
        for seed in range(800)
    )
    assert len(found) == 8
    assert min(found.values()) > 100 - 4 * math.sqrt(100)


@pytest.mark.parametrize("free", [0, 1])
def test_centres_are_uniform_in_the_field_of_view(free):
    """A pixel of the field of view is at the centre; all are, as often."""
    fov = torch.zeros(1, 30, 40)
    fov[0, 3:5, 7:9] = 1
    fov[0, 20, 35] = 1
    numbers = torch.arange(1, 1201).reshape(1, 30, 40) / 1200
    crops = Crops(side=1, free=free, gain=0, channel_gain=0, gamma=0, offset=0)
    centres = Counter(
        round(1200 * draw(crops, (numbers.expand(3, 30, 40), numbers, fov), s)[1].item()) - 1
        for s in range(500)
    )
    assert set(centres) == set(fov[0].flatten().nonzero()[:, 0].tolist())
    assert min(centres.values()) > 100 - 4 * math.sqrt(80)


def free_matrix(seed, crops=FREE):
    """The matrix by which a free crop is drawn, measured on an image of coordinates."""
    side = 201
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    coordinates = torch.stack([y, x, torch.zeros_like(x)]) / side
    fov = torch.zeros(1, side, side)
    fov[0, 100, 100] = 1
    crop, _ = draw(crops, (coordinates, fov, fov), seed)
    middle = crops.side // 2
    centre = crop[:2, middle, middle] * side
    down, right = (crop[:2, middle + a, middle + b] * side - centre for a, b in ((1, 0), (0, 1)))
    torch.testing.assert_close(centre, torch.tensor([100.0, 100.0]), atol=1e-2, rtol=0)
    return torch.stack([down, right], 1)  # image pixels (y, x) by a pixel of the crop


def test_free_crops_are_rotated_scaled_and_stretched_within_bounds():
    angles, scales, aspects = [], [], []
    for seed in range(300):
        matrix = free_matrix(seed).double()
        down, right = matrix.T
        assert abs(down @ right) < 2e-2  # axes stay perpendicular
        assert torch.linalg.det(matrix) > 0  # no mirror
        angles.append(math.atan2(down[1], down[0]))
        scales.append(1 / math.sqrt(torch.linalg.det(matrix)))
        aspects.append((down.norm() / right.norm()).item())
    assert 0.79 < min(scales) < 0.82
    assert 1.22 < max(scales) < 1.26
    assert np.median(scales) == pytest.approx(1, abs=0.03)
    assert math.exp(-0.11) < min(aspects) < math.exp(-0.09)
    assert math.exp(0.09) < max(aspects) < math.exp(0.11)
    quarters = np.histogram(angles, 4, (-math.pi, math.pi))[0]
    assert quarters.min() > 75 - 4 * math.sqrt(56)


def test_image_and_target_move_together_in_free_crops():
    """The target is the image's own red channel: so it is in the crop."""
    image, _, fov = maps()
    for seed in range(20):
        crop, moved = draw(FREE, (image, image[:1], fov), seed)
        torch.testing.assert_close(crop[:1], moved)


@pytest.mark.parametrize("free", [0.0, 0.25, 0.5, 1.0])
def test_the_share_of_free_crops(free):
    image, target, fov = maps()
    crops = Crops(side=9, free=free, gain=0, channel_gain=0, gamma=0, offset=0)
    # Turned crops hold zeros and ones only; of free ones, those of one value may be taken for them.
    values = set(image[0].flatten().tolist()) | {0.0}
    exact = [set(draw(crops, (image, target, fov), s)[0][0].flatten().tolist()) <= values
             for s in range(400)]  # fmt: skip
    assert 1 - np.mean(exact) == pytest.approx(free, abs=4 * math.sqrt(0.25 / 400))


def colour_changes(crops, level, draws=2000):
    """Values that a grey image gets within the field of view and outside: (draws, channels)."""
    image = torch.full((3, 2, 2), level)
    fov = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    inside, outside = [], []
    for seed in range(draws):
        crop, seen = draw(crops, (image, fov, fov), seed)
        in_image = crop.sum(0) > 0
        inside.append(crop[:, seen[0] > 0][:, 0])
        dark = in_image & (seen[0] == 0)
        outside.append(crop[:, dark][:, 0] if dark.any() else torch.full((3,), math.nan))
    return torch.stack(inside).double(), torch.stack(outside).double()


def test_gains_are_those_of_the_recipe():
    logs = (colour_changes(Crops(side=3, free=0, gamma=0, offset=0), 0.5)[0] / 0.5).log()
    assert logs.std(0).mean() == pytest.approx(math.hypot(0.12, 0.06), rel=0.05)
    assert (logs[:, 0] - logs[:, 1]).std() == pytest.approx(0.06 * math.sqrt(2), rel=0.05)
    assert abs(logs.mean()) < 4 * 0.13 / math.sqrt(2000)


def test_exponents_are_those_of_the_recipe():
    still = Crops(side=3, free=0, gain=0, channel_gain=0, offset=0)
    exponents = colour_changes(still, 0.5)[0].log() / math.log(0.5)
    torch.testing.assert_close(exponents[:, 0], exponents[:, 2])
    assert exponents[:, 0].log().std() == pytest.approx(0.15, rel=0.05)


def test_offsets_are_those_of_the_recipe_and_within_the_field_of_view():
    still = Crops(side=3, free=0, gain=0, channel_gain=0, gamma=0)
    inside, outside = colour_changes(still, 0.5)
    assert (inside[:, 0] - 0.5).std() == pytest.approx(0.03, rel=0.05)
    torch.testing.assert_close(inside[:, 0], inside[:, 1])
    assert set(outside[~outside.isnan()].tolist()) == {0.5}


def test_values_stay_between_0_and_1():
    wild = Crops(side=16, gain=2, channel_gain=1, gamma=2, offset=1)
    image, target, fov = maps()
    for seed in range(50):
        crop, moved = draw(wild, (image, target, fov), seed)
        assert crop.isfinite().all()
        for values in (crop, moved):
            assert values.min() >= 0
            assert values.max() <= 1


def test_a_seed_repeats_and_the_inputs_are_untouched():
    given = maps()
    before = [x.clone() for x in given]
    for crops in (STILL, FREE, Crops(side=20)):
        first, again, other = (draw(crops, given, seed) for seed in (1, 1, 2))
        assert torch.equal(first[0], again[0])
        assert not torch.equal(first[0], other[0])
    assert all(map(torch.equal, before, given))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("side", 0, "side must be at least 1"),
        ("free", 1.5, r"free must lie in \[0, 1\], got 1.5"),
        ("free", math.nan, r"free must lie in \[0, 1\], got nan"),
        ("zoom", 0.9, "zoom must be at least 1"),
        ("stretch", -0.1, "stretch must be at least 0"),
        ("gain", -0.1, "gain must be at least 0"),
        ("channel_gain", math.inf, "channel_gain must be at least 0 and finite, got inf"),
        ("gamma", math.nan, "gamma must be at least 0"),
        ("offset", -1, "offset must be at least 0"),
    ],
)
def test_bounds(field, value, message):
    with pytest.raises(ValueError, match=f"Crops: {message}"):
        Crops(**{field: value})
    with pytest.raises(TypeError, match=r"Crops: side must be an int, got 2\.5"):
        Crops(side=2.5)
