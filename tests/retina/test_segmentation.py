"""Images of any camera, scaled to what a network was trained at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchattn_blocks import DropBlock2d, monte_carlo
from torchattn_blocks.retina import (
    Network,
    Settings,
    Trained,
    fov_diameter,
    load_pretrained,
    segment,
    segment_monte_carlo,
    synthesize,
)
from torchattn_blocks.retina.data.tensors import image_tensor, resized_image, resized_map


class Dark(nn.Module):
    """Logits above 0 where green is dark; remembers the shapes it saw."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(40.0))
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        return (0.3 - x[:, 1:2]) * self.scale


def trained(fov_diameter, side=None):
    return Trained(Dark(), Settings(Network(), fov_diameter, side))


@pytest.fixture(scope="module")
def fundus():
    return synthesize(3, height=200, width=190)


def test_an_image_of_the_size_trained_at_is_taken_as_it_is(fundus):
    network = trained(fov_diameter(fundus.fov) * 1.02)
    probability = segment(fundus.image, network)
    assert network.model.seen == [(200, 190)]
    expected = 1 / (1 + np.exp(-40 * (0.3 - fundus.image[..., 1] / 255.0)))
    np.testing.assert_allclose(probability, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_another_camera_is_scaled_and_its_map_scaled_back(fundus, factor):
    size = round(190 * factor), round(200 * factor)
    image = np.array(Image.fromarray(fundus.image).resize(size, Image.Resampling.BICUBIC))
    network = trained(fov_diameter(fundus.fov))
    probability = segment(image, network)
    assert probability.shape == image.shape[:2]
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1
    [(height, width)] = network.model.seen
    assert abs(height - 200) <= 3 + 2 / factor  # the field of view is measured to a pixel
    assert abs(width - 190) <= 3 + 2 / factor
    # The same places are found as in the image itself.
    small = np.array(Image.fromarray(probability).resize((190, 200), Image.Resampling.BICUBIC))
    own = segment(fundus.image, network)
    assert np.corrcoef(small.ravel(), own.ravel())[0, 1] > (0.95 if factor > 1 else 0.85)


def test_a_given_field_of_view_decides_the_scale(fundus):
    network = trained(100)
    fov = np.zeros((200, 190), bool)
    fov[50:100, 20:30] = True
    segment(fundus.image, network, fov=fov)
    assert network.model.seen == [(400, 380)]


def test_what_is_scaled_beyond_the_side_is_seen_whole(fundus):
    network = trained(2 * fov_diameter(fundus.fov), side=160)
    assert segment(fundus.image, network, flips=True).shape == (200, 190)
    assert network.model.seen == [(400, 380)] * 4


def test_an_image_without_border_is_as_wide_as_the_field_of_view():
    image = np.random.default_rng(0).integers(90, 110, (60, 80, 3), dtype=np.uint8)
    network = trained(160)
    segment(image, network)
    assert network.model.seen == [(120 + 64, 160 + 64)]  # continued beyond the frame


def test_what_is_wrong_is_said(fundus):
    with pytest.raises(ValueError, match=r"fov must have the image's shape \(200, 190\), got"):
        segment(fundus.image, trained(100), fov=fundus.fov.T)
    with pytest.raises(ValueError, match="fov must have at least 1 True pixel"):
        segment(fundus.image, trained(100), fov=np.zeros((200, 190), bool))
    with pytest.raises(ValueError, match="segment: image must have shape"):
        segment(fundus.image[..., 0], trained(100))
    with pytest.raises(TypeError, match="segment: image must be an array of type uint8, got float"):
        segment(fundus.image / 255, trained(100), fov=fundus.fov)


class Dropped(Dark):
    """The same, with dropout of logits and a batch normalisation whose statistics must not move."""

    def __init__(self, drop):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(1, affine=False), drop

    def forward(self, x):
        return self.drop(self.norm(super().forward(x)))


def dropping(drop, fov_diameter, side=None):
    return Trained(Dropped(drop), Settings(Network(), fov_diameter, side))


def test_passes_differ_as_dropout_says(fundus):
    # A logit is dropped, and the probability .5, or it is kept and doubled.
    network = dropping(nn.Dropout(0.5), fov_diameter(fundus.fov))
    before = {name: values.clone() for name, values in network.model.state_dict().items()}
    mean, std = segment_monte_carlo(fundus.image, network, 400)
    assert mean.shape == std.shape == (200, 190)
    assert mean.dtype == std.dtype == np.float32
    logits = 40 * (0.3 - fundus.image[..., 1] / 255.0)
    kept = 1 / (1 + np.exp(-2 * logits / np.sqrt(1 + 1e-5)))  # the epsilon of the normalisation
    half = np.abs(kept - 0.5) / 2
    # Five standard errors of 400 passes: the mean's are half / 20. The deviation is largest where
    # half of the passes drop, and d = 5 / 40 away from that sqrt(1 - 4 d^2) of it.
    assert (np.abs(mean - (kept + 0.5) / 2) <= half / 4 + 1e-5).all()
    assert (std >= half * (1 - 4 / 64) ** 0.5 - 1e-5).all()
    assert (std <= half * (400 / 399) ** 0.5 + 1e-5).all()
    after = network.model.state_dict()
    assert all(torch.equal(values, after[name]) for name, values in before.items())


@pytest.mark.parametrize("factor", [1, 0.6])
def test_the_seed_decides_and_the_process_keeps_its_random_numbers(fundus, factor):
    network = dropping(DropBlock2d(0.3, 3), fov_diameter(fundus.fov) * factor, 300)
    network.model.eval()
    network.model.drop.train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = segment_monte_carlo(fundus.image, network, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert [m.training for m in network.model.modules()] == [False, False, True]
    torch.manual_seed(6)
    assert all(map(np.array_equal, segment_monte_carlo(fundus.image, network, 3), one))
    other = segment_monte_carlo(fundus.image, network, 3, seed=1)
    assert not np.array_equal(other[1], one[1])
    assert one[1].shape == (200, 190)


def test_its_field_of_view_decides_the_scale_and_passes_are_counted(fundus):
    network = dropping(nn.Dropout(0.5), 100)
    fov = np.zeros((200, 190), bool)
    fov[50:100, 20:30] = True
    segment_monte_carlo(fundus.image, network, 3, fov=fov)
    assert network.model.seen == [(400, 380)] * 3


def test_deviations_are_those_of_the_maps_at_the_images_own_size(fundus):
    network = dropping(nn.Dropout(0.5), fov_diameter(fundus.fov) / 2)
    mean, std = segment_monte_carlo(fundus.image, network, 3, seed=7)
    x = image_tensor(resized_image(fundus.image, 0.5))[None]
    torch.manual_seed(7)
    with torch.no_grad(), monte_carlo(network.model):
        small = [network.model(x).sigmoid()[0] for _ in range(3)]
    maps = torch.stack([resized_map(one, (200, 190))[0] for one in small])
    np.testing.assert_allclose(std, maps.std(0), atol=1e-6)
    np.testing.assert_allclose(mean, maps.mean(0), atol=1e-6)
    # Not the small deviations, scaled.
    assert np.abs(resized_map(torch.stack(small).std(0), (200, 190))[0].numpy() - std).max() > 0.01


def test_passes_are_computed_in_tiles(fundus, monkeypatch):
    monkeypatch.setattr("torchattn_blocks.retina.predict._TILE", 80)
    monkeypatch.setattr("torchattn_blocks.retina.predict._MARGIN", 16)
    network = dropping(DropBlock2d(0.3, 3), fov_diameter(fundus.fov), side=64)
    mean, std = segment_monte_carlo(fundus.image, network, 2)
    assert max(max(shape) for shape in network.model.seen) <= 80
    assert len(network.model.seen) == 2 * 5 * 4
    assert mean.shape == std.shape == (200, 190)
    assert (std > 0).any(0).all()  # in every column of tiles
    assert (std > 0).any(1).all()


@pytest.mark.parametrize(("name", "side"), [("drive", 565), ("chase_db1", 960)])
def test_shipped_networks_are_uncertain_at_vessels(name, side):
    # A part of a retina that is as wide as those trained on.
    whole = synthesize(2, height=side, width=side)
    image = np.ascontiguousarray(whole.image[200:360, 150:310])
    how = {"fov": np.ones((160, 160), bool), "fov_diameter": 160}
    trained = load_pretrained(name)
    before = segment(image, trained, **how)
    mean, std = segment_monte_carlo(image, trained, 4, **how)
    assert np.array_equal(segment(image, trained, **how), before)
    assert np.corrcoef(mean.ravel(), before.ravel())[0, 1] > 0.9
    unsure = np.abs(before - 0.5) < 0.3
    sure = before < 0.02
    assert std[unsure].mean() > 5 * std[sure].mean() > 0


@pytest.mark.parametrize(
    ("error", "changed", "message"),
    [
        (ValueError, {"passes": 1}, "passes must be at least 2, got 1"),
        (TypeError, {"passes": 2.5}, "passes must be an int, got 2.5"),
        (ValueError, {"seed": -1}, "seed must be at least 0, got -1"),
        (ValueError, {"fov": np.ones((3, 4), bool)}, "fov must have the image's shape"),
        (ValueError, {"image": np.zeros((4, 4), np.uint8)}, "image must have shape"),
        (
            ValueError,
            {"trained": trained(100)},
            "the network must have DropBlock",
        ),
        (ValueError, {"trained": dropping(nn.Dropout(0.0), 100)}, ".*, got rsan with p = 0"),
    ],
)
def test_what_is_wrong_with_passes_is_said(fundus, error, changed, message):
    arguments = {"image": fundus.image, "trained": dropping(nn.Dropout(), 100), **changed}
    with pytest.raises(error, match=f"^segment_monte_carlo: {message}"):
        segment_monte_carlo(**arguments)


RGB = np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        ("eye.jpg", r"got str\. Pass read_image\(path\)"),
        (Path("eye.jpg"), r"got \w+Path\. Pass read_image\(path\)"),
        (Image.fromarray(RGB), r'got Image\. Pass np\.array\(image\.convert\("RGB"\)\)'),
        (torch.zeros(3, 6, 8), r"got Tensor\. Pass an array .*permute\(1, 2, 0\)\.numpy\(\)"),
        (RGB[..., 0], r"got \(6, 8\)\. Of a grey image, pass np\.stack\(\[image\] \* 3, axis=-1\)"),
        (
            np.zeros((6, 8, 4), np.uint8),
            r"got \(6, 8, 4\)\. Of RGBA values, pass image\[\.\.\., :3\]",
        ),
        (RGB.transpose(2, 0, 1), r"got \(3, 6, 8\)\. With channels first, pass image\.transpose"),
        (RGB / 255, r"got float64\. Of values in \[0, 1\], pass \(255 \* image\)"),
        (RGB.astype(np.uint16), r"got uint16\. Of values up to 65535, pass \(image >> 8\)"),
        (None, "got NoneType$"),
    ],
)
@pytest.mark.parametrize("function", [segment, segment_monte_carlo])
def test_what_is_no_image_gets_a_remedy(image, remedy, function):
    network = dropping(nn.Dropout(), 6)
    with pytest.raises(
        (TypeError, ValueError), match=f"^{function.__name__}: image must .*{remedy}"
    ):
        function(image, network)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (
            Dark(),
            r"got Dark\. Pass all that load_pretrained or load_weights returned, not its model",
        ),
        ("drive", r"got str\. Pass load_pretrained\('drive'\)"),
        ("mine.safetensors", r"got str\. Pass load_weights\('mine\.safetensors'\)"),
        (None, "got NoneType$"),
    ],
)
@pytest.mark.parametrize("function", [segment, segment_monte_carlo])
def test_what_is_no_trained_network_gets_a_remedy(given, remedy, function):
    with pytest.raises(TypeError, match=f"^{function.__name__}: trained must be Trained, {remedy}"):
        function(RGB, given)


@pytest.mark.parametrize(
    ("given", "error"), [(0, ValueError), (np.inf, ValueError), ("5", TypeError)]
)
def test_the_diameter_is_checked(fundus, given, error):
    with pytest.raises(error, match=r"^segment: fov_diameter must"):
        segment(fundus.image, trained(100), fov_diameter=given)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_field_of_view_may_be_numbers(fundus, kind):
    """Also where the frame cuts it."""
    image, fov = np.ascontiguousarray(fundus.image[30:]), fundus.fov[30:]
    expected = segment(image, trained(150), fov=fov)
    for white in (1, 255):
        got = segment(image, trained(150), fov=fov.astype(kind) * white)
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(TypeError, match="segment: fov must be an array of type bool, got str"):
        segment(image, trained(150), fov="fov")
