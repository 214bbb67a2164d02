"""Images of any camera, scaled to what a network was trained at."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchattn_blocks.retina import Network, Settings, Trained, fov_diameter, segment, synthesize


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
    assert network.model.seen == [(120, 160)]


def test_what_is_wrong_is_said(fundus):
    with pytest.raises(ValueError, match=r"fov must have the image's shape \(200, 190\), got"):
        segment(fundus.image, trained(100), fov=fundus.fov.T)
    with pytest.raises(ValueError, match="fov must have at least 1 True pixel"):
        segment(fundus.image, trained(100), fov=np.zeros((200, 190), bool))
    with pytest.raises(ValueError, match="segment: image must have shape"):
        segment(fundus.image[..., 0], trained(100))
    with pytest.raises(TypeError, match="segment: image must be an array of type uint8, got float"):
        segment(fundus.image / 255, trained(100), fov=fundus.fov)
