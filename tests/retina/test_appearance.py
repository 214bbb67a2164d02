"""Crops as other cameras see them: scale, thin vessels, and each change of the image."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.morphology import skeletonize
from small_runs import SMALL_CROPS, drawn, equal, run

from torchattn_blocks.retina import CAMERAS_RECIPE, CROPS_RECIPE, Crops, Recipe, list_drive
from torchattn_blocks.retina.training import appearance
from torchattn_blocks.retina.training.examples import Examples, prepared

PLAIN = {"gain": 0, "channel_gain": 0, "gamma": 0, "offset": 0}
STILL = Crops(side=64, free=0, **PLAIN)
CHANGES = ("contrast", "light", "vignette", "reflex", "blur", "noise", "jpeg")


def draw(crops, given, seed=0):
    return crops(*given, np.random.default_rng(seed))


def eye(seed=0, height=160, width=150):
    sample = prepared(drawn(seed, height, width), CROPS_RECIPE)
    return sample["image"], sample["label"], sample["fov"]


def full(height=64, width=64, level=0.5):
    """A grey image that is all field of view."""
    return (
        torch.full((3, height, width), level),
        torch.zeros(1, height, width),
        torch.ones(1, height, width),
    )


# Scale.


def measured_scale(crops, seed):
    """The magnification of a free crop, measured on an image of coordinates."""
    side = 401
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    fov = torch.zeros(1, side, side)
    fov[0, 200, 200] = 1
    crop, _ = draw(crops, (torch.stack([y, x, torch.zeros_like(x)]) / side, fov, fov), seed)
    middle = crops.side // 2
    centre = crop[:2, middle, middle] * side
    axes = [crop[:2, middle + a, middle + b] * side - centre for a, b in ((1, 0), (0, 1))]
    return 1 / math.sqrt(abs(torch.linalg.det(torch.stack(axes, 1).double())))


@pytest.mark.parametrize("zoom", [(0.5, 2.0), (0.5, 0.6), (1.5, 1.5)])
def test_crops_are_magnified_within_a_pair(zoom):
    crops = Crops(side=31, free=1, zoom=zoom, stretch=0, **PLAIN)
    scales = np.log([measured_scale(crops, seed) for seed in range(200)])
    low, high = np.log(zoom)
    assert low - 0.02 < scales.min() < low + 0.1 * (high - low) + 0.02
    assert high - 0.1 * (high - low) - 0.02 < scales.max() < high + 0.02
    assert np.median(scales) == pytest.approx((low + high) / 2, abs=0.12 * (high - low) + 0.02)


def test_a_number_and_its_pair_are_the_same():
    given = eye()
    for seed in range(10):
        one, other = (
            draw(Crops(side=32, free=1, zoom=zoom), given, seed) for zoom in (1.25, (0.8, 1.25))
        )
        torch.testing.assert_close(one[0], other[0])
        torch.testing.assert_close(one[1], other[1])


@pytest.mark.parametrize(
    ("zoom", "error", "message"),
    [
        ((2.0, 0.5), ValueError, r"zoom\[0\] must be at most zoom\[1\], got \(2.0, 0.5\)"),
        ((0, 1), ValueError, r"zoom\[0\] must be above 0 and finite, got 0"),
        ((1, math.inf), ValueError, r"zoom\[1\] must be above 0 and finite, got inf"),
        ((1, 2, 3), ValueError, r"zoom must be a number or a pair, got \(1, 2, 3\)"),
        ((1, "x"), TypeError, r"zoom\[1\] must be a number, got 'x'"),
        (0.5, ValueError, "zoom must be at least 1 and finite, got 0.5"),
    ],
)
def test_what_is_no_zoom(zoom, error, message):
    with pytest.raises(error, match=f"Crops: {message}"):
        Crops(zoom=zoom)


def pieces(mask):
    return ndimage.label(mask, np.ones((3, 3)))[1]


@pytest.mark.parametrize(
    ("angle", "width"),
    # At 45 degrees, a width of 1 is a chain of pixels at their corners, narrower than a pixel.
    [(a, w) for a in (0, 17, 45, 80) for w in (1.0, 1.5, 2.0) if (a, w) != (45, 1.0)],
)
def test_thin_vessels_of_reduced_crops_stay_in_one_piece(angle, width):
    y, x = np.mgrid[:200, :200] - 99.5
    along = math.radians(angle)
    line = np.abs(x * math.sin(along) - y * math.cos(along)) <= width / 2
    target = torch.from_numpy(line).float()[None]
    fov = torch.zeros(1, 200, 200)
    fov[0, 100, 100] = 1
    for zoom in (0.5, 0.6, 0.7):
        crops = Crops(side=64, free=1, zoom=(zoom, zoom), stretch=0.1, **PLAIN)
        for seed in range(5):
            _, moved = draw(crops, (target.expand(3, -1, -1), target, fov), seed)
            assert set(moved.unique().tolist()) <= {0.0, 1.0}
            mask = moved[0].numpy() > 0.5
            inner = mask[8:-8, 8:-8]
            assert pieces(inner) == 1
            rows, columns = np.flatnonzero(inner.any(1)), np.flatnonzero(inner.any(0))
            assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 47  # from side to side


def test_vessels_of_real_images_stay_connected(real_data):
    """As Crops says: with a fifth of a pixel as the bound, not with half of it.

    The crops hold all of the image.
    """
    files = list_drive(real_data / "DRIVE", "training")[0]
    label = torch.from_numpy(files.read().label).float()[None]
    fov = torch.zeros_like(label)
    fov[0, 290, 280] = 1
    crops = Crops(side=256, free=1, zoom=(0.5, 0.5), stretch=0, **PLAIN)
    lines = torch.from_numpy(skeletonize(label[0].numpy() > 0)).float()[None]
    found = {"fifth": [], "half": []}
    for seed in range(5):
        # The image's channels are areas of vessel and of centre lines.
        crop, moved = draw(crops, (torch.cat([label, label, lines]), label, fov), seed)
        for name, mask in {"fifth": moved[0] > 0, "half": crop[0] > 0.5}.items():
            line = (crop[2] * mask).sum() / crop[2].sum()
            area = 4 * mask.sum() / label.sum()
            found[name].append((pieces(mask.numpy()), line.item(), area.item()))
    (fifth, lines_of_fifth, area_of_fifth), (half, lines_of_half, area_of_half) = (
        np.transpose(values) for values in found.values()
    )
    assert fifth.max() < 10
    assert half.min() > 200
    assert (lines_of_fifth.mean(), lines_of_half.mean()) == (
        pytest.approx(0.96, abs=0.01),
        pytest.approx(0.75, abs=0.01),
    )
    assert (area_of_fifth.mean(), area_of_half.mean()) == (
        pytest.approx(1.4, abs=0.05),
        pytest.approx(1, abs=0.06),
    )


def test_reduced_images_are_averages_of_what_they_show():
    """Noise of single pixels nearly vanishes. Looked up at single points, half of it would stay."""
    noise = torch.rand(1, 200, 200, generator=torch.Generator().manual_seed(0))
    given = noise.expand(3, 200, 200), torch.zeros(1, 200, 200)
    fov = torch.zeros(1, 200, 200)
    fov[0, 100, 100] = 1
    spreads = {}
    for zoom in (0.5, 0.76):
        crops = Crops(side=32, free=1, zoom=(zoom, zoom), stretch=0, **PLAIN)
        drawn_crops = [draw(crops, (*given, fov), seed)[0] for seed in range(8)]
        spreads[zoom] = np.mean([crop.std().item() for crop in drawn_crops]) / noise.std().item()
    assert spreads[0.5] < 0.45
    assert spreads[0.76] > 0.55


# Changes.


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_off_in_crops_and_on_for_cameras(name):
    default = {field.name: field.default for field in fields(Crops)}[name]
    assert getattr(CROPS_RECIPE.crops, name) == default
    assert not default
    assert getattr(CAMERAS_RECIPE.crops, name)
    assert replace(CAMERAS_RECIPE, crops=CROPS_RECIPE.crops) == CROPS_RECIPE


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_changes_the_image_and_nothing_else(name):
    given = eye()
    changing = replace(STILL, **{name: getattr(CAMERAS_RECIPE.crops, name)})
    plain, changed = (
        [draw(crops, given, seed) for seed in range(6)] for crops in (STILL, changing)
    )
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(plain, changed, strict=True))
    for (before, label), (after, moved) in zip(plain, changed, strict=True):
        assert torch.equal(label, moved)
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert type(after) is torch.Tensor
        assert 0 <= after.min() <= after.max() <= 1
        if name not in ("blur", "jpeg"):
            assert (after[before == 0] == 0).all()  # black stays black
    repeated = draw(changing, given, 3)
    assert torch.equal(repeated[0], changed[3][0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"contrast": -1}, ValueError, "contrast must be at least 0 and finite, got -1"),
        ({"light": math.nan}, ValueError, "light must be at least 0 and finite, got nan"),
        ({"vignette": 1.1}, ValueError, r"vignette must lie in \[0, 1\], got 1.1"),
        ({"reflex": -0.1}, ValueError, "reflex must be at least 0"),
        ({"blur": "x"}, TypeError, "blur must be a number, got 'x'"),
        ({"noise": None}, TypeError, "noise must be a number, got None"),
        ({"jpeg": 0}, ValueError, "jpeg must be at least 1, got 0"),
        ({"jpeg": 96}, ValueError, "jpeg must be at most 95, got 96"),
        ({"jpeg": 50.5}, TypeError, "jpeg must be an int, got 50.5"),
    ],
)
def test_what_crops_refuse(options, error, message):
    with pytest.raises(error, match=f"Crops: {message}"):
        Crops(**options)


def test_contrast_is_about_the_mean_of_each_channel():
    grey = full()
    grey[0][0, :, :32] = 0.3
    crops = replace(STILL, side=128, contrast=0.1)  # all of the image, and black around it
    logs = []
    for seed in range(400):
        after, _ = draw(crops, grey, seed)
        values = after[0][after[0] > 0]
        logs.append(math.log((values.max() - values.min()) / 0.2))
    assert np.std(logs) == pytest.approx(0.1, rel=0.12)
    changed = appearance.with_contrast(grey[0], grey[2], 2.0)
    assert changed[0, 0, 0] == pytest.approx(0.2)
    assert changed[0, 0, 63] == pytest.approx(0.6)
    assert changed[1, 0, 0] == pytest.approx(0.5)


def test_light_is_uneven_and_smooth():
    image, *_ = full()
    rng = np.random.default_rng(0)
    fields_of_light = torch.stack([appearance.with_light(image, 0.2, rng)[0] for _ in range(50)])
    logs = (fields_of_light / 0.5).log()
    assert logs.abs().max() < 10 * 0.2  # the ten coefficients of a polynomial of third degree
    assert (logs.amax((1, 2)) - logs.amin((1, 2))).mean() > 0.2
    steps = max(logs.diff(dim=axis).abs().max() for axis in (1, 2))
    assert steps < 0.2
    assert abs(logs.mean()) < 0.1


def test_a_vignette_darkens_towards_the_border():
    side = 101
    y, x = (torch.arange(side) - 50.0)[:, None], torch.arange(side) - 50.0
    squared = (y**2 + x**2) / 50**2
    fov = (squared <= 1).float()[None]
    image = fov.expand(3, -1, -1) * 0.8
    crops = Crops(side=2 * side, free=0, vignette=0.5, **PLAIN)
    losses = []
    for seed in range(40):
        crop, _ = draw(crops, (image, fov, fov), seed)
        radial = torch.cat([crop[0][crop[0] > 0].min()[None], crop[0].max()[None]]) / 0.8
        losses.append(1 - radial[0].item())
        assert radial[1] > 0.999  # the centre
    assert 0 <= min(losses) < 0.05
    assert 0.45 < max(losses) <= 0.5


def test_the_middle_of_wide_vessels_gets_brighter():
    target = torch.zeros(1, 64, 64)
    target[0, :, 20:29] = 1  # nine pixels wide
    target[0, :, 50:52] = 1  # two
    image = torch.full((3, 64, 64), 0.4)
    sums = torch.zeros(64, 64)
    for seed in range(40):
        after = appearance.with_reflex(image, target, 0.5, np.random.default_rng(seed))
        gains = after[0] / 0.4
        assert gains.min() >= 1 - 1e-6
        assert gains.max() <= 1.5 + 1e-6
        assert (gains[target[0] == 0] == 1).all()
        assert (gains[:, 50:52] == 1).all()
        sums += gains
    across = (sums / 40).mean(0)[20:29]
    assert across.argmax() == 4
    assert across[4] == pytest.approx(1.25, abs=0.05)  # about half of the vessels
    assert across[0] == across[8] == 1


def test_blur_is_gaussian_and_darkens_no_border():
    image = torch.zeros(3, 65, 65)
    image[:, 32, 32] = 1
    spread = appearance.blurred(image, 2.0)[0]
    x = torch.arange(65) - 32.0
    assert spread.sum() == pytest.approx(1, abs=1e-3)
    assert (spread.sum(0) * x**2).sum().sqrt() == pytest.approx(2, rel=0.02)
    grey, *_ = full()
    torch.testing.assert_close(appearance.blurred(grey, 3.0), grey)


def test_noise_has_its_deviation_in_the_field_of_view():
    image, _, fov = full(200, 200)
    fov = fov.clone()
    fov[0, :, 100:] = 0
    noisy = appearance.with_noise(image, fov, 0.05, np.random.default_rng(0))
    assert (noisy - image)[:, :, :100].std() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(noisy[:, :, 100:], image[:, :, 100:])


def test_jpeg_loses_more_at_lower_quality():
    image, *_ = eye()
    errors = [(appearance.compressed(image, q) - image).abs().mean() for q in (10, 40, 95)]
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2] > 0
    black = torch.zeros(3, 16, 16)
    assert torch.equal(appearance.compressed(black, 50), black)


def test_training_and_resuming_by_the_recipe_for_cameras(tmp_path):
    images = [drawn(seed, 64, 64) for seed in range(6)]
    recipe = replace(SMALL_CROPS, crops=replace(CAMERAS_RECIPE.crops, side=24))
    whole, _ = run(tmp_path / "whole", images, recipe)
    run(tmp_path / "part", images, recipe, max_time=1e-3)
    part, _ = run(tmp_path / "part", images, recipe, resume=True)
    assert equal(whole, part)


def test_workers_draw_the_same_crops(tmp_path):
    images = [drawn(seed, 64, 64) for seed in range(6)]
    recipe = replace(SMALL_CROPS, crops=replace(CAMERAS_RECIPE.crops, side=24), steps=2)
    alone, _ = run(tmp_path / "alone", images, recipe)
    helped, _ = run(tmp_path / "helped", images, recipe, workers=1)
    assert equal(alone, helped)


def test_maps_beside_the_mask_are_averages_in_reduced_crops():
    """A probability is not taken for a mask, of which a fifth of a pixel counts."""
    _, label, fov = eye()
    hint = torch.full_like(label, 0.3)
    crops = Crops(side=32, free=1, zoom=(0.5, 0.5), stretch=0, **PLAIN)
    for seed in range(5):
        centre = torch.zeros_like(fov)
        centre[0, 80, 75] = 1
        _, alone = draw(crops, (label.expand(3, -1, -1), label, centre), seed)
        _, moved = draw(crops, (label.expand(3, -1, -1), torch.cat([label, hint]), centre), seed)
        assert torch.equal(moved[:1], alone)
        torch.testing.assert_close(moved[1, 8:24, 8:24], torch.full((16, 16), 0.3))


@pytest.mark.parametrize("crops", [None, Crops(side=24), replace(CAMERAS_RECIPE.crops, side=24)])
def test_auxiliary_targets_have_their_share_in_every_recipe(crops):
    fundus = drawn(0, 64, 64)
    hint = np.full(fundus.fov.shape, 0.5, np.float32)
    recipe = Recipe(steps=1, crops=crops, auxiliary=0.4)
    examples = Examples([fundus], recipe, {fundus.name: hint})
    plain = Examples([fundus], replace(recipe, auxiliary=0.0))
    for step in range(4):
        (image, mixed), (same, mask) = (each[step, 0, 0] for each in (examples, plain))
        assert torch.equal(image, same)
        assert mixed.shape == mask.shape
        share = mixed - 0.6 * mask
        assert share.min() > -1e-6  # none beyond the image
        assert share.max() == pytest.approx(0.4 * 0.5, abs=1e-6)
