"""From an image to its map."""

import numpy as np
import pytest
import torch
from torch import nn

from torchattn_blocks import rsan
from torchattn_blocks.retina import vessel_probability


class Red(nn.Module):
    """Logits that tell the red value of each pixel apart, and that training would change."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        return self.drop(x[:, :1]) * self.scale


@pytest.mark.parametrize("side", [None, 12])
def test_each_pixel_gets_its_own_probability(side):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    model = Red()
    probability = vessel_probability(model, image, side)
    assert probability.dtype == np.float32
    assert model.training
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-4 / 255 * image[..., 0])), rtol=1e-5)


def test_every_module_is_left_in_its_mode():
    model = Red()
    model.drop.eval()
    vessel_probability(model, np.zeros((9, 11, 3), np.uint8))
    with pytest.raises(TypeError, match="vessel_probability: image must be an array of type uint8"):
        vessel_probability(model, np.zeros((9, 11, 3)))
    assert (model.training, model.drop.training) == (True, False)


def test_a_model_without_parameters_runs_on_the_cpu():
    assert vessel_probability(FirstChannel(), np.zeros((9, 11, 3), np.uint8)).shape == (9, 11)


class FirstChannel(nn.Module):
    def forward(self, x):
        return x[:, :1]


def test_refuses_a_model_with_more_maps():
    with pytest.raises(ValueError, match="model must have 1 output channel, got 3"):
        vessel_probability(nn.Conv2d(3, 3, 1), np.zeros((9, 11, 3), np.uint8))


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(("height", "width"), [(121, 133), (12, 190), (33, 80)])
def test_tiles_are_equal_to_the_whole_image(height, width, flips, monkeypatch):
    # Smaller tiles and margins for a network of two levels, which sees less far: 7 + 2 * 7 + 7.
    monkeypatch.setattr("torchattn_blocks.retina.predict._TILE", 80)
    monkeypatch.setattr("torchattn_blocks.retina.predict._MARGIN", 32)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    model, shapes = rsan(widths=(4, 8)), []
    model.register_forward_pre_hook(lambda module, x: shapes.append(x[0].shape))
    whole = vessel_probability(model, image, flips=flips)
    shapes.clear()
    tiles = vessel_probability(model, image, 32, flips=flips)
    np.testing.assert_allclose(tiles, whole, atol=1e-5)
    assert max(max(shape[2:]) for shape in shapes) <= 80
    assert (len(shapes) > 4) == (max(height, width) > 80)


class Right(Red):
    """Logits that grow to the right and to the bottom, whatever the image."""

    def forward(self, x):
        logits = torch.arange(x.shape[3]) + 10.0 * torch.arange(x.shape[2])[:, None]
        return logits.expand(1, 1, -1, -1) * self.scale / 40


def test_flips_average_over_the_mirror_images_turned_back():
    image = np.zeros((5, 7, 3), np.uint8)
    one = vessel_probability(Right(), image)
    averaged = vessel_probability(Right(), image, flips=True)
    mirrored = [one, one[::-1], one[:, ::-1], one[::-1, ::-1]]
    np.testing.assert_allclose(averaged, np.mean(mirrored, axis=0), rtol=1e-5)
    assert not np.allclose(one, averaged)
